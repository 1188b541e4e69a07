package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// question is one verification; in batch mode, one line on standard input. PEM text given inline wins over a path.
type question struct {
	Roots    string `json:"roots"`
	RootsPEM string `json:"rootsPem"`
	Chain    string `json:"chain"`
	ChainPEM string `json:"chainPem"`
	Key      string `json:"key"`
	KeyPEM   string `json:"keyPem"`
	Usage    string `json:"usage"`
	DNS      string `json:"dns"` // several: separated by commas; each must match
	IP       string `json:"ip"`
	Time     string `json:"time"`
	ID       any    `json:"id"` // handed back
}

type answer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
	ID    any    `json:"id,omitempty"`
}

func runVerify(args []string) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	var q question
	batch := flags.Bool("batch", false, "read questions as JSON lines, print an answer line for each")
	flags.StringVar(&q.Roots, "roots", "", "PEM file of trusted certificates")
	flags.StringVar(&q.Chain, "chain", "", "PEM file: leaf first, then intermediates")
	flags.StringVar(&q.Key, "key", "", "PEM file of the leaf's key, to check that it fits")
	flags.StringVar(&q.Usage, "usage", "", "server or client")
	flags.StringVar(&q.DNS, "dns", "", "DNS name (or several, with commas) that the leaf must have")
	flags.StringVar(&q.IP, "ip", "", "IP address that the leaf must have")
	flags.StringVar(&q.Time, "time", "", "RFC 3339; default: now")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *batch {
		return verifyBatch(os.Stdin, os.Stdout)
	}
	if err := q.verify(); err != nil {
		return err
	}
	fmt.Println("OK")
	return nil
}

func verifyBatch(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(bufio.NewReader(in))
	encoder := json.NewEncoder(out)
	for {
		var q question
		if err := decoder.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a := answer{OK: true, ID: q.ID}
		if err := q.verify(); err != nil {
			a.OK, a.Error = false, err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
}

func (q *question) verify() error {
	now := time.Now()
	if q.Time != "" {
		t, err := time.Parse(time.RFC3339, q.Time)
		if err != nil {
			return err
		}
		now = t
	}
	var usage x509.ExtKeyUsage
	switch q.Usage {
	case "server":
		usage = x509.ExtKeyUsageServerAuth
	case "client":
		usage = x509.ExtKeyUsageClientAuth
	default:
		return fmt.Errorf("usage %q is neither server nor client", q.Usage)
	}
	rootText, err := textOf(q.RootsPEM, q.Roots)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(rootText) {
		return errors.New("the roots hold no certificate")
	}
	chainText, err := textOf(q.ChainPEM, q.Chain)
	if err != nil {
		return err
	}
	chain, err := parseChain(chainText)
	if err != nil {
		return err
	}
	if q.Key != "" || q.KeyPEM != "" {
		keyText, err := textOf(q.KeyPEM, q.Key)
		if err != nil {
			return err
		}
		if _, err := tls.X509KeyPair(chainText, keyText); err != nil {
			return err
		}
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return err
	}
	var names []string
	if q.DNS != "" {
		names = strings.Split(q.DNS, ",")
	}
	if q.IP != "" {
		names = append(names, q.IP)
	}
	for _, name := range names {
		if err := chain[0].VerifyHostname(strings.TrimSpace(name)); err != nil {
			return err
		}
	}
	return nil
}

func textOf(inline, path string) ([]byte, error) {
	if inline != "" {
		return []byte(inline), nil
	}
	return os.ReadFile(path)
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("the chain holds no certificate")
	}
	return chain, nil
}
