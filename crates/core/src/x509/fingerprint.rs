use std::fmt;

use aws_lc_rs::digest;

use super::hex::hex;

/// The SHA-256 of a certificate's DER: what names a certificate in status, logs and guards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, der).as_ref())
        {
            *to = *from;
        }
        Self(bytes)
    }

    /// Reads the lower-case (or upper-case) hexadecimal form that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()?;
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (to, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *to = pair.iter().fold(0, |value, digit| (value << 4) | digit);
        }
        Some(Self(bytes))
    }

    /// The first 16 hexadecimal digits: enough to tell certificates apart for a person.
    pub fn short(&self) -> String {
        let (first, _) = self.0.split_at(8);
        hex(first)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn is_the_sha256_of_the_bytes_in_lower_hex() {
        let fingerprint = Fingerprint::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), hex);
        assert_eq!(fingerprint.short(), "ba7816bf8f01cfea");
        assert_eq!(Fingerprint::parse(hex), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&hex.to_uppercase()), Some(fingerprint));
        assert_eq!(Fingerprint::parse("ba78"), None);
        assert_eq!(Fingerprint::parse(&hex.replace('a', "g")), None);
    }
}
