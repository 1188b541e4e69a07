#!/bin/sh
# Makes CAs as people have them, with OpenSSL, into the directory given:
#   good/<name>/      tls.crt, tls.key and perhaps ca.crt; `lenient` where OpenSSL's own strict rules refuse the CA
#   refused/<Reason>-<name>/   the same, each to be refused with that reason
#   forbids/<Reason>-<name>/   CAs that load and may not sign the server leaf
#   verify/<name>/    chain.pem and roots.pem, for verifiers to agree on
set -eu

mkdir -p "$1"
cd "$1"
mkdir keys good refused forbids verify
exec 2>openssl.log

# --- keys, shared: making them is what takes time -----------------------------------------------------------------
for bits in 1024 2048 3072 4096; do openssl genrsa -traditional -out keys/rsa$bits.pkcs1 $bits; done &
openssl genrsa -traditional -out keys/other.pkcs1 2048 &
wait
for key in rsa1024 rsa2048 rsa3072 rsa4096 other; do openssl pkey -in keys/$key.pkcs1 -out keys/$key; done
for curve in p256:prime256v1 p384:secp384r1 p521:secp521r1 p256b:prime256v1 k1:secp256k1 p224:secp224r1; do
	openssl ecparam -name "${curve#*:}" -genkey -out "keys/${curve%%:*}.sec1"
	openssl pkey -in "keys/${curve%%:*}.sec1" -out "keys/${curve%%:*}"
done
openssl genpkey -algorithm ed25519 -out keys/ed25519
openssl genpkey -algorithm ed448 -out keys/ed448
openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:2048 -out keys/pss

# --- certificates ----------------------------------------------------------------------------------------------
CA='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash'
SUB="$CA
authorityKeyIdentifier=keyid:always"
LEAF='basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:cluster-gateway.ns.svc
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid:always'
mask=utf8only

config() { # extensions
	printf '[req]\ndistinguished_name=dn\nutf8=yes\nstring_mask=%s\n[dn]\n[ext]\n%s\n%s\n' "$mask" "$1" "${sections:-}" >config
}
root() { # out key subject extensions [openssl options]
	out=$1 key=$2 subject=$3
	config "$4"
	shift 4
	openssl req -x509 -new -utf8 -config config -extensions ext -key "keys/$key" -subj "$subject" -days 3650 -out "$out" "$@"
}
signed() { # out key subject extensions issuer-certificate issuer-key [openssl options]
	out=$1 key=$2 subject=$3 extensions=$4 issuer=$5 issuer_key=$6
	shift 6
	config ''
	openssl req -new -utf8 -config config -key "keys/$key" -subj "$subject" -out csr
	config "$extensions"
	openssl x509 -req -in csr -extfile config -extensions ext -CA "$issuer" -CAkey "keys/$issuer_key" \
		-set_serial "0x4$(openssl rand -hex 8)" -days 3000 -out "$out" "$@"
}
dated() { # out key subject extensions start end
	out=$1 key=$2 subject=$3
	config ''
	openssl req -new -utf8 -config config -key "keys/$key" -subj "$subject" -out csr
	rm -rf db && mkdir db && : >db/index && echo 1234 >db/serial
	printf '[ca]\ndefault_ca=d\n[d]\ndatabase=db/index\nserial=db/serial\nnew_certs_dir=db\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n[ext]\n%s\n' "$4" >config
	openssl ca -batch -notext -preserveDN -selfsign -config config -extensions ext -keyfile "keys/$key" -in csr \
		-startdate "$5" -enddate "$6" -out "$out"
}
good() { dir=good/$1; mkdir "$dir"; }
refused() { dir=refused/$1; mkdir "$dir"; }
forbids() { dir=forbids/$1; mkdir "$dir"; }
lenient() { : >"$dir/lenient"; }
simple() { # key subject [extensions] [options]: a root with its key as it is
	key=$1 subject=$2 extensions=${3:-$CA}
	[ $# -lt 3 ] || shift
	shift 2
	cp "keys/$key" "$dir/tls.key"
	root "$dir/tls.crt" "$key" "$subject" "$extensions" "$@"
}

# The guide's own: OpenSSL's default extensions have no keyUsage.
good guide
lenient
simple rsa4096 '/CN=openchoreo-cluster-gateway-ca/O=OpenChoreo' 'subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid:always,issuer
basicConstraints=critical,CA:true'

# Keys, and the forms they come in.
for key in rsa2048 rsa3072 rsa4096 p256 p384 p521 ed25519; do good "key-$key"; simple $key "/O=Keys/CN=$key"; done
good key-pkcs1; simple rsa2048 '/CN=pkcs1'; cp keys/rsa2048.pkcs1 "$dir/tls.key"
good key-pkcs1-4096; simple rsa4096 '/CN=pkcs1-4096'; cp keys/rsa4096.pkcs1 "$dir/tls.key"
good key-sec1-parameters-first; simple p256 '/CN=sec1'; cp keys/p256.sec1 "$dir/tls.key"
good key-sec1; simple p384 '/CN=sec1 p384'; openssl ec -in keys/p384.sec1 -out "$dir/tls.key"
good key-sec1-p521; simple p521 '/CN=sec1 p521'; openssl ec -in keys/p521.sec1 -out "$dir/tls.key"
good key-explicit-curve; simple p256 '/CN=explicit'; openssl ec -in keys/p256.sec1 -param_enc explicit -out "$dir/tls.key"
good key-mislabelled; simple rsa2048 '/CN=mislabelled'; sed 's/RSA PRIVATE/PRIVATE/' keys/rsa2048.pkcs1 >"$dir/tls.key"
good key-after-certificate; simple p256 '/CN=one file'; cat "$dir/tls.crt" keys/p256 >both; cp both "$dir/tls.key"
good key-and-certificate-in-both; simple p256 '/CN=one file twice'; cat keys/p256 "$dir/tls.crt" >both; cp both "$dir/tls.crt"; cp both "$dir/tls.key"
good key-bag-attributes; simple rsa2048 '/CN=bag'
openssl pkcs12 -export -in "$dir/tls.crt" -inkey keys/rsa2048 -name 'the ca' -passout pass:x -out p12
openssl pkcs12 -in p12 -nodes -passin pass:x -out both; cp both "$dir/tls.crt"; cp both "$dir/tls.key"

# Signatures.
good signed-sha512; simple rsa2048 '/CN=sha512' "$CA" -sha512
good signed-p384-with-sha256; simple p384 '/CN=p384 sha256' "$CA" -sha256
good signed-p256-with-sha512; simple p256 '/CN=p256 sha512' "$CA" -sha512
good signed-pss; simple rsa2048 '/CN=pss' "$CA" -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32

# Names.
good name-domain-components; simple rsa2048 '/DC=com/DC=example/OU=Security/OU=PKI/CN=Issuing CA'
good name-repeated-organizations; simple p256 '/C=DE/O=One/O=Two/O=Three/CN=a/CN=b'
good name-multi-valued; simple p256 '/O=Acme+OU=PKI+L=Berlin/CN=multi+serialNumber=17'
good name-multi-valued-first; simple rsa2048 '/CN=a+CN=b+CN=c/DC=x+DC=y'
good name-without-common-name; simple p256 '/C=US/O=Only an organization/OU=and a unit'
good name-punctuation; simple p256 '/O=Acme, Inc. <"PKI">;#1/CN= odd \\ \+ blanks '
good name-email; simple rsa2048 '/emailAddress=pki@example.com/CN=mail/serialNumber=0001'
good name-unknown-attribute; simple p256 '/O=x/1.2.3.4.5=value/CN=unknown attribute'
good name-utf8; simple p256 '/O=Grüße GmbH & Co/CN=Prüfung 中文'
good name-long; simple p256 "/O=$(printf '%064d' 7)/OU=$(printf '%064d' 8)/CN=$(printf '%064d' 9)"
mask=MASK:0x0002; good name-printable; simple rsa2048 '/O=Printable Inc/CN=Printable CA'
mask=MASK:0x0010; good name-ia5; simple p256 '/O=ia5@example/CN=ia5_CA'
mask=MASK:0x0800; good name-bmp; simple rsa2048 '/O=Müller AG/CN=BMP 中文'
mask=MASK:0x0004; good name-t61; simple p256 '/O=Müller AG/CN=Teletex Ä'
mask=default; good name-mixed; simple p256 '/C=DE/O=Plain/OU=Größe/CN=Mixed types'
mask=utf8only

# Key identifiers.
good ski-none; lenient; simple rsa2048 '/CN=no ski' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign'
good ski-short; simple p256 '/CN=short ski' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=01'
good ski-long; simple p256 '/CN=long ski' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'

# Chains.
root upper rsa4096 '/DC=com/DC=example/CN=Root' "$CA"
signed middle rsa2048 '/DC=com/DC=example/OU=Issuing/CN=Intermediate' "$SUB" upper rsa4096
key() { cp "keys/$1" "$dir/tls.key"; }
good chain-issuer-first; key rsa2048; cat middle upper >"$dir/tls.crt"
good chain-root-first; key rsa2048; cat upper middle >"$dir/tls.crt"
good chain-root-in-ca-crt; key rsa2048; cp middle "$dir/tls.crt"; cp upper "$dir/ca.crt"
good chain-root-in-both; key rsa2048; cat middle upper >"$dir/tls.crt"; cat upper upper >"$dir/ca.crt"
good chain-without-root; key rsa2048; cp middle "$dir/tls.crt"
good chain-with-strangers; key rsa2048; cat good/name-t61/tls.crt middle good/guide/tls.crt >"$dir/tls.crt"; cat good/name-bmp/tls.crt upper >"$dir/ca.crt"
good chain-unrelated-ca-crt; key rsa2048; cp middle "$dir/tls.crt"; cp good/guide/tls.crt "$dir/ca.crt"
root top ed25519 '/O=Three/CN=top' "$(echo "$CA" | sed 's/CA:TRUE/CA:TRUE,pathlen:2/')"
signed second p384 '/O=Three/O=Second/CN=second' "$(echo "$SUB" | sed 's/CA:TRUE/CA:TRUE,pathlen:1/')" top ed25519
signed third p256 '/O=Three/CN=third' "$(echo "$SUB" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')" second p384
good chain-three-levels; key p256; cat second top third >"$dir/tls.crt"
good chain-three-levels-without-root; key p256; cat second third >"$dir/tls.crt"
good chain-middle-of-three; key p384; cat top second third >"$dir/tls.crt"
signed under-ed p521 '/CN=under ed25519' "$SUB" top ed25519
good chain-p521-under-ed25519; key p521; cat under-ed top >"$dir/tls.crt"
root upper-b p256b '/CN=Another root' "$CA"
signed cross other '/DC=com/CN=Cross' "$SUB" upper rsa4096
signed cross-b other '/DC=com/CN=Cross' "$SUB" upper-b p256b
good chain-cross-signed; key other; cat cross cross-b >"$dir/tls.crt"; cat upper upper-b >"$dir/ca.crt"
mask=MASK:0x0800
root upper-bmp rsa2048 '/O=Müller/CN=BMP root' "$CA"
mask=MASK:0x0004
signed under-bmp p256 '/O=Müller/OU=a/OU=b/CN=T61 intermediate' "$SUB" upper-bmp rsa2048
mask=utf8only
good chain-mixed-string-types; key p256; cat under-bmp upper-bmp >"$dir/tls.crt"
dated old p256b '/CN=Renewed' "$CA" 20200101000000Z 20210101000000Z
root new p256b '/CN=Renewed' "$CA"
good chain-renewed-with-the-same-key; key p256b; cat old new >"$dir/tls.crt"

# Text around, line ends, order.
crlf() { sed 's/$/\r/' "$1" >converted; cp converted "$1"; }
good text-crlf; simple rsa2048 '/CN=crlf'; crlf "$dir/tls.crt"; crlf "$dir/tls.key"
good text-crlf-chain; key rsa2048; cat middle upper >"$dir/tls.crt"; crlf "$dir/tls.crt"; crlf "$dir/tls.key"
good text-around; key rsa2048; { openssl x509 -in middle -text; echo '# the root: -----'; openssl x509 -in upper -text; echo trailing; } >"$dir/tls.crt"; { echo 'comment: x'; cat keys/rsa2048; echo; echo end; } >"$dir/tls.key"
good text-comment-in-ca-crt; simple p256 '/CN=comment'; printf '# filled in later\n' >"$dir/ca.crt"
good text-empty-ca-crt; simple p256 '/CN=empty'; : >"$dir/ca.crt"
good text-byte-order-mark; simple p256 '/CN=bom'; for file in tls.crt tls.key; do { printf '\357\273\277'; cat "$dir/$file"; } >marked; cp marked "$dir/$file"; done
good text-trailing-blanks; simple p256 '/CN=blanks'; sed 's/$/  /' "$dir/tls.crt" >converted; cp converted "$dir/tls.crt"
good text-no-newline-at-end; simple p256 '/CN=no newline'; printf %s "$(cat "$dir/tls.crt")" >converted; cp converted "$dir/tls.crt"; printf %s "$(cat keys/p256)" >"$dir/tls.key"

# Constraints and validity.
good path-length-zero; simple p256 '/CN=pathlen' "$(echo "$CA" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')"
good name-constraints-permitting; simple rsa2048 '/CN=constrained' "$CA
nameConstraints=critical,permitted;DNS:svc,permitted;DNS:cluster.local,permitted;IP:10.0.0.0/255.0.0.0,permitted;URI:example.org"
good name-constraints-excluding; simple p256 '/CN=excluding' "$CA
nameConstraints=critical,excluded;DNS:example.com,excluded;IP:192.168.0.0/255.255.0.0"
sections='[dn_constraint]
O=Somebody else'
good name-constraints-directory-not-critical; lenient; simple p256 '/CN=directory' "$CA
nameConstraints=excluded;dirName:dn_constraint"
sections=
root eku-root p256b '/CN=EKU root' "$CA"
signed eku p256 '/CN=EKU intermediate' "$SUB
extendedKeyUsage=serverAuth,clientAuth" eku-root p256b
good extended-key-usage; key p256; cat eku eku-root >"$dir/tls.crt"
good many-extensions; simple p256 '/CN=everything' "$CA
crlDistributionPoints=URI:http://crl.example/ca.crl
authorityInfoAccess=OCSP;URI:http://ocsp.example
certificatePolicies=1.2.3.4,2.5.29.32.0
subjectAltName=DNS:ca.example.com,email:pki@example.com
issuerAltName=issuer:copy
nsComment=hello
1.2.3.4.5.6=ASN1:UTF8String:unknown"
good never-ends; dated "$dir/tls.crt" p256 '/CN=never ends' "$CA" 20200101000000Z 99991231235959Z; key p256
good ends-after-2049; dated "$dir/tls.crt" p256 '/CN=2051' "$CA" 19700102000000Z 20510101000000Z; key p256

# --- refused ---------------------------------------------------------------------------------------------------
refused KeyEncrypted-pkcs8; simple rsa2048 '/CN=x'; openssl pkcs8 -topk8 -in keys/rsa2048 -passout pass:secret -out "$dir/tls.key"
refused KeyEncrypted-proc-type; simple rsa2048 '/CN=x'; openssl rsa -in keys/rsa2048 -aes128 -traditional -passout pass:secret -out "$dir/tls.key"
refused KeyEncrypted-proc-type-ec; simple p256 '/CN=x'; openssl ec -in keys/p256 -aes128 -passout pass:secret -out "$dir/tls.key"
refused KeyMismatch-other; simple rsa2048 '/CN=x'; key other
refused KeyMismatch-other-kind; simple rsa2048 '/CN=x'; key p256
refused KeyMismatch-roots-key; key rsa4096; cp middle "$dir/tls.crt"; cp upper "$dir/ca.crt"
refused NotACertificateAuthority-ca-false; simple rsa2048 '/CN=x' 'basicConstraints=critical,CA:FALSE'
refused NotACertificateAuthority-no-extension; simple rsa2048 '/CN=x' 'keyUsage=critical,keyCertSign'
refused NotACertificateAuthority-version-1; key rsa2048; config ''; openssl req -new -config config -key keys/rsa2048 -subj /CN=x -out csr; openssl x509 -req -in csr -signkey keys/rsa2048 -days 100 -out "$dir/tls.crt"
refused NotACertificateAuthority-leaf; key p256; signed leaf p256 '/CN=leaf' "$LEAF" upper rsa4096; cat leaf upper >"$dir/tls.crt"
refused KeyUsageMissing-root; simple p256 '/CN=x' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature,cRLSign'
root no-sign rsa4096 '/CN=no keyCertSign' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,cRLSign'
refused KeyUsageMissing-above; key p256; signed child p256 '/CN=child' "$SUB" no-sign rsa4096; cat child no-sign >"$dir/tls.crt"
refused Expired-root; key p256; dated "$dir/tls.crt" p256 '/CN=x' "$CA" 20200101000000Z 20210101000000Z
dated expired p256b '/CN=expired root' "$CA" 20200101000000Z 20210101000000Z
refused Expired-above; key p256; signed child p256 '/CN=child' "$SUB" expired p256b; cp child "$dir/tls.crt"; cp expired "$dir/ca.crt"
refused NotYetValid-root; key p256; dated "$dir/tls.crt" p256 '/CN=x' "$CA" 20900101000000Z 20910101000000Z
refused WeakKey-root; simple rsa1024 '/CN=x'
refused WeakKey-pkcs1; simple rsa1024 '/CN=x'; cp keys/rsa1024.pkcs1 "$dir/tls.key"
root weak rsa1024 '/CN=weak root' "$CA"
refused WeakKey-above; key p256; signed child p256 '/CN=child' "$SUB" weak rsa1024; cat child weak >"$dir/tls.crt"
refused WeakSignature-sha1-root; simple rsa2048 '/CN=x' "$CA" -sha1
refused WeakSignature-md5-root; simple rsa2048 '/CN=x' "$CA" -md5
refused WeakSignature-sha1-ecdsa; simple p256 '/CN=x' "$CA" -sha1
signed sha1 p256 '/CN=sha1' "$SUB" upper rsa4096 -sha1
refused WeakSignature-sha1-intermediate; key p256; cat sha1 upper >"$dir/tls.crt"
refused WeakSignature-sha1-without-root; key p256; cp sha1 "$dir/tls.crt"
root short rsa4096 '/CN=short' "$(echo "$CA" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')"
refused PathLengthExceeded-root; key p256; signed child p256 '/CN=child' "$SUB" short rsa4096; cat child short >"$dir/tls.crt"
sections='[dn_constraint]
O=Acme'
refused NameConstraints-directory; simple p256 '/CN=x' "$CA
nameConstraints=critical,permitted;dirName:dn_constraint"
sections=
refused UnsupportedKey-secp256k1; simple k1 '/CN=x'
refused UnsupportedKey-sec1-secp256k1; simple k1 '/CN=x'; cp keys/k1.sec1 "$dir/tls.key"
refused UnsupportedKey-p224; simple p224 '/CN=x'
refused UnsupportedKey-rsa-pss; simple pss '/CN=x'
refused UnsupportedKey-ed448; simple ed448 '/CN=x'
refused CertificateInvalid-garbage; key p256; printf -- '-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n' >"$dir/tls.crt"
refused CertificateInvalid-cut-short; simple p256 '/CN=x'; head -c 300 "$dir/tls.crt" >cut; cp cut "$dir/tls.crt"
refused CertificateInvalid-der; key p256; openssl x509 -in upper -outform der -out "$dir/tls.crt"
refused CertificateInvalid-second-cut-short; key rsa2048; { cat middle; head -c 300 upper; } >"$dir/tls.crt"
refused CertificateInvalid-in-ca-crt; key rsa2048; cp middle "$dir/tls.crt"; head -c 300 upper >"$dir/ca.crt"
refused CertificateInvalid-indented; key p256; sed 's/^/  /' good/key-p256/tls.crt >"$dir/tls.crt"
refused CertificateInvalid-negative-serial; simple p256 '/CN=x' "$CA" -set_serial -5
refused CertificateInvalid-unknown-critical; simple p256 '/CN=x' "$CA
1.2.3.4.5.6=critical,ASN1:UTF8String:unknown"
refused CertificateMissing-empty; key p256; : >"$dir/tls.crt"
refused CertificateMissing-comment; key p256; echo '# to be filled' >"$dir/tls.crt"
refused CertificateMissing-public-key; key p256; openssl pkey -in keys/p256 -pubout -out "$dir/tls.crt"
refused CertificateMissing-binary; key p256; head -c 1000 /dev/urandom >"$dir/tls.crt"
refused KeyMissing-empty; simple p256 '/CN=x'; : >"$dir/tls.key"
refused KeyMissing-certificate-instead; simple p256 '/CN=x'; cp "$dir/tls.crt" "$dir/tls.key"
refused KeyMissing-public-key; simple p256 '/CN=x'; openssl pkey -in keys/p256 -pubout -out "$dir/tls.key"
refused KeyInvalid-cut-short; simple rsa2048 '/CN=x'; head -c 600 keys/rsa2048 >"$dir/tls.key"
refused KeyInvalid-wrong-bytes; simple rsa2048 '/CN=x'; { sed -n 1,4p keys/rsa2048; sed -n 6,99p keys/rsa2048; } >"$dir/tls.key"
refused KeyInvalid-garbage; simple p256 '/CN=x'; printf -- '-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGdhcmJhZ2U=\n-----END PRIVATE KEY-----\n' >"$dir/tls.key"
refused TooLarge-certificate; simple p256 '/CN=x'; head -c 66000 /dev/zero | tr '\0' '#' >>"$dir/tls.crt"
refused TooLarge-key; simple p256 '/CN=x'; head -c 66000 /dev/zero | tr '\0' '#' >>"$dir/tls.key"
refused TooLarge-ca-crt; simple p256 '/CN=x'; head -c 66000 /dev/zero | tr '\0' '#' >>"$dir/ca.crt"

# --- CAs that load and may not sign the server leaf ---------------------------------------------------------------
forbids NameConstraints-permitted; simple p256 '/CN=x' "$CA
nameConstraints=critical,permitted;DNS:example.com"
forbids NameConstraints-excluded; simple p256 '/CN=x' "$CA
nameConstraints=critical,excluded;DNS:svc"
root constrained rsa4096 '/CN=constrained root' "$CA
nameConstraints=critical,permitted;DNS:example.com"
forbids NameConstraints-on-the-root; key p256; signed child p256 '/CN=child' "$SUB" constrained rsa4096; cat child constrained >"$dir/tls.crt"
root client-root p256b '/CN=root' "$CA"
forbids UsageNotAllowed-client-only; key p256; signed child p256 '/CN=client only' "$SUB
extendedKeyUsage=clientAuth" client-root p256b; cat child client-root >"$dir/tls.crt"
forbids UsageNotAllowed-on-the-root; simple p256 '/CN=x' "$CA
extendedKeyUsage=clientAuth,emailProtection"
forbids PolicyConstraints-intermediate; key p256; signed child p256 '/CN=policy' "$SUB
certificatePolicies=1.2.3.4
policyConstraints=critical,requireExplicitPolicy:0" client-root p256b; cat child client-root >"$dir/tls.crt"

# --- for verifiers to agree on -----------------------------------------------------------------------------------
leaf() { # name key issuer issuer-key [extensions]
	signed "verify/$1" "$2" "/O=OpenChoreo/CN=$1" "${5:-$LEAF}" "$3" "$4"
}
root verify/root rsa2048 '/O=V/CN=root' "$CA"
root verify/root-same-name p256 '/O=V/CN=root' "$CA"
root verify/root-no-ca rsa2048 '/O=V/CN=root' 'basicConstraints=critical,CA:FALSE'
root verify/root-no-basic-constraints rsa2048 '/O=V/CN=root' 'keyUsage=critical,keyCertSign'
root verify/root-no-sign rsa2048 '/O=V/CN=root' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,cRLSign'
dated verify/root-expired rsa2048 '/O=V/CN=root' "$CA" 20200101000000Z 20210101000000Z
dated verify/root-future rsa2048 '/O=V/CN=root' "$CA" 20900101000000Z 20910101000000Z
dated verify/root-endless rsa2048 '/O=V/CN=root' "$CA" 20200101000000Z 99991231235959Z
root verify/root-sha1 rsa2048 '/O=V/CN=root' "$CA" -sha1
root verify/root-constrained rsa2048 '/O=V/CN=root' "$CA
nameConstraints=critical,permitted;DNS:example.com"
root verify/root-excluding rsa2048 '/O=V/CN=root' "$CA
nameConstraints=critical,excluded;DNS:cluster-gateway.ns.svc"
root verify/root-directory rsa2048 '/O=V/CN=root' "$CA
nameConstraints=critical,permitted;email:example.com,permitted;otherName:1.2.3.4\;UTF8:x" || cp refused/NameConstraints-directory/tls.crt verify/root-directory
root verify/root-client rsa2048 '/O=V/CN=root' "$CA
extendedKeyUsage=clientAuth"
root verify/root-any rsa2048 '/O=V/CN=root' "$CA
extendedKeyUsage=anyExtendedKeyUsage"
root verify/root-other-usage rsa2048 '/O=V/CN=root' "$CA
extendedKeyUsage=codeSigning"
root verify/root-path-zero rsa2048 '/O=V/CN=root' "$(echo "$CA" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')"
root verify/root-critical rsa2048 '/O=V/CN=root' "$CA
1.2.3.4.5.6=critical,ASN1:UTF8String:unknown"
root verify/root-negative rsa2048 '/O=V/CN=root' "$CA" -set_serial -5
root verify/root-policy rsa2048 '/O=V/CN=root' "$CA
policyConstraints=critical,requireExplicitPolicy:0"
root verify/root-empty-usage rsa2048 '/O=V/CN=root' 'basicConstraints=critical,CA:TRUE
keyUsage=critical,decipherOnly'
config ''
openssl req -new -config config -key keys/rsa2048 -subj '/O=V/CN=root' -out csr
openssl x509 -req -in csr -signkey keys/rsa2048 -days 3000 -out verify/root-version-1

for variant in plain:'' path-zero:',pathlen:0' ; do
	signed "verify/sub-${variant%%:*}" p256 '/O=V/CN=sub' "$(echo "$SUB" | sed "s/CA:TRUE/CA:TRUE${variant#*:}/")" verify/root rsa2048
done
signed verify/sub-no-ca p256 '/O=V/CN=sub' 'basicConstraints=critical,CA:FALSE' verify/root rsa2048
signed verify/sub-sha1 p256 '/O=V/CN=sub' "$SUB" verify/root rsa2048 -sha1
signed verify/sub-pss p256 '/O=V/CN=sub' "$SUB" verify/root rsa2048 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32
signed verify/sub-pss-odd-salt p256 '/O=V/CN=sub' "$SUB" verify/root rsa2048 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20
signed verify/sub-server p256 '/O=V/CN=sub' "$SUB
extendedKeyUsage=serverAuth" verify/root rsa2048
signed verify/sub-policy p256 '/O=V/CN=sub' "$SUB
certificatePolicies=1.2.3.4
policyConstraints=critical,requireExplicitPolicy:0" verify/root rsa2048
signed verify/sub-policy-later p256 '/O=V/CN=sub' "$SUB
certificatePolicies=2.5.29.32.0
policyConstraints=critical,requireExplicitPolicy:2" verify/root rsa2048
signed verify/sub-policy-mapped p256 '/O=V/CN=sub' "$SUB
certificatePolicies=1.2.3.9
policyMappings=1.2.3.9:1.2.3.4
policyConstraints=critical,requireExplicitPolicy:0,inhibitPolicyMapping:3" verify/root rsa2048
signed verify/sub-san p256 '/O=V/CN=sub' "$SUB
subjectAltName=DNS:sub.example.net" verify/root rsa2048
signed verify/sub-other-root p256 '/O=V/CN=sub' "$SUB" verify/root-same-name p256
signed verify/subsub p384 '/O=V/CN=subsub' "$SUB" verify/sub-plain p256

leaf leaf-direct p256b verify/root rsa2048
leaf leaf-direct-ecdsa p256b verify/root-same-name p256
leaf leaf-sub p256b verify/sub-plain p256
leaf leaf-subsub p256b verify/subsub p384
leaf leaf-server p256b verify/sub-plain p256 'extendedKeyUsage=serverAuth
subjectAltName=DNS:a.example.com'
leaf leaf-client p256b verify/sub-plain p256 'extendedKeyUsage=clientAuth'
leaf leaf-any p256b verify/sub-plain p256 'extendedKeyUsage=anyExtendedKeyUsage'
leaf leaf-no-usage p256b verify/sub-plain p256 'basicConstraints=CA:FALSE'
leaf leaf-code p256b verify/sub-plain p256 'extendedKeyUsage=codeSigning'
leaf leaf-policy p256b verify/sub-plain p256 "$LEAF
certificatePolicies=1.2.3.4"
leaf leaf-other-policy p256b verify/sub-plain p256 "$LEAF
certificatePolicies=1.2.3.5"
leaf leaf-constrained p256b verify/sub-plain p256 'subjectAltName=DNS:*.example.com,IP:10.1.2.3,URI:spiffe://example.org/x,email:a@example.com'
leaf leaf-urn p256b verify/sub-plain p256 'subjectAltName=DNS:a.example.com,URI:urn:uuid:1'
leaf leaf-odd-name p256b verify/sub-plain p256 'subjectAltName=DNS:a b.example.com'
leaf leaf-critical p256b verify/sub-plain p256 "$LEAF
1.2.3.4=critical,ASN1:NULL"
leaf leaf-ca p256b verify/sub-plain p256 "$CA"
leaf leaf-k1 k1 verify/sub-plain p256
leaf leaf-ed448 ed448 verify/sub-plain p256
leaf leaf-only-other-name p256b verify/sub-plain p256 'subjectAltName=critical,RID:1.2.3'
root verify/leaf-self-signed p256 '/CN=pinned agent' 'basicConstraints=critical,CA:FALSE
extendedKeyUsage=clientAuth'
root verify/leaf-self-signed-ca p256 '/CN=pinned agent ca' "$CA"
dated verify/leaf-self-signed-expired p256 '/CN=pinned agent' 'basicConstraints=CA:FALSE' 20200101000000Z 20210101000000Z
