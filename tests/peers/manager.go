package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// internalPath is where the gateway serves its internal API.
const internalPath = "/api/v1/planes/"

func serveInternal(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintln(w, `{"connected":true}`)
}

// internalServer serves the gateway's internal API. It verifies that a client's certificate is of this CA, and no name.
func (g *gateway) internalServer(pair tls.Certificate, mutual bool, caFile string) (*http.Server, error) {
	settings := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if mutual {
		roots, err := readRoots(caFile)
		if err != nil {
			return nil, err
		}
		settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, roots
	}
	mux := http.NewServeMux()
	mux.HandleFunc(internalPath, serveInternal)
	return &http.Server{Handler: mux, TLSConfig: settings, ErrorLog: log.New(errorLog{g}, "", 0)}, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}

// runManager plays controller-manager and openchoreo-api: whoever calls the gateway's internal API with files that it has
// read at its start, and serves webhooks with a certificate that it reads anew.
func runManager(args []string) error {
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	webhookPort := flags.Int("webhook-port", 0, "TLS port for admission and conversion reviews; 0: none")
	webhookDir := flags.String("webhook-cert-dir", "", "directory with tls.crt and tls.key")
	healthPort := flags.Int("health-port", 0, "plain HTTP port for /health; 0: none")
	gatewayURL := flags.String("cluster-gateway-url", "", "the internal API; none: nobody is called")
	gatewayCA := flags.String("cluster-gateway-ca-cert", "", "PEM file, read once")
	clientCert := flags.String("cluster-gateway-client-cert", "", "PEM file, read once; none: none is presented")
	clientKey := flags.String("cluster-gateway-client-key", "", "PEM file, read once")
	serverName := flags.String("server-name", "", "the name to verify the gateway by, instead of the URL's")
	interval := flags.Duration("call-interval", 100*time.Millisecond, "how often it is called")
	statsFile := flags.String("stats-file", "", "where counters are written as JSON")
	stdin := flags.Bool("until-stdin-closes", false, "end when standard input does")
	if err := parseTolerantly(flags, args); err != nil {
		return err
	}
	stop := stopSignal(*stdin)
	m := &counters{dirty: true}
	failed := make(chan error, 3)
	if *gatewayURL != "" {
		client, err := internalClient(*gatewayCA, *clientCert, *clientKey, *serverName)
		if err != nil {
			return err
		}
		target, err := url.JoinPath(*gatewayURL, internalPath, "dataplane/default/status")
		if err != nil {
			return err
		}
		go m.keepCalling(client, target, *interval)
	}
	if *webhookPort != 0 {
		pair := &reloadedPair{dir: *webhookDir}
		if _, err := pair.get(nil); err != nil {
			return err
		}
		listener, err := listen("127.0.0.1", *webhookPort, 10*time.Second)
		if err != nil {
			return err
		}
		server := webhookServer(pair)
		go func() { failed <- server.ServeTLS(listener, "", "") }()
	}
	if *healthPort != 0 {
		listener, err := listen("127.0.0.1", *healthPort, 10*time.Second)
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "OK") })
		go func() { failed <- http.Serve(listener, mux) }()
	}
	if *statsFile != "" {
		go func() { failed <- m.keep(*statsFile, stop) }()
	}
	select {
	case err := <-failed:
		return err
	case <-stop:
		if *statsFile != "" {
			return <-failed
		}
		return nil
	}
}

func internalClient(ca, cert, key, serverName string) (*http.Client, error) {
	roots, err := readRoots(ca)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName, RootCAs: roots}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("failed to load client certificate: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	// Each call is a handshake: that is what may fail.
	transport := &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, nil
}

func (c *counters) keepCalling(client *http.Client, target string, interval time.Duration) {
	logger := newLogger()
	for range time.Tick(interval) {
		status, err := call(client, target)
		if err == nil {
			c.change(func(s *agentStats) {
				s.Attempts++
				s.Connects++
				s.Connected = true
			})
			continue
		}
		byCertificate := c.failed(err, status)
		c.change(func(s *agentStats) { s.Connected = false })
		logger.Error("call failed", "error", err.Error(), "status", status, "byCertificate", byCertificate)
	}
}

func call(client *http.Client, target string) (int, error) {
	response, err := client.Get(target)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return response.StatusCode, err
	}
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, fmt.Errorf("the gateway answers %s", response.Status)
	}
	return response.StatusCode, nil
}

// reloadedPair is a certificate that is read anew when its files change, as controller-runtime's certwatcher does it: files
// that do not fit together (yet) leave the earlier certificate in place.
type reloadedPair struct {
	dir string

	mu        sync.Mutex
	cert, key []byte
	pair      *tls.Certificate
}

func (r *reloadedPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cert, certErr := os.ReadFile(filepath.Join(r.dir, "tls.crt"))
	key, keyErr := os.ReadFile(filepath.Join(r.dir, "tls.key"))
	err := errors.Join(certErr, keyErr)
	if err == nil && (!bytes.Equal(cert, r.cert) || !bytes.Equal(key, r.key)) {
		var pair tls.Certificate
		if pair, err = tls.X509KeyPair(cert, key); err == nil {
			r.cert, r.key, r.pair = cert, key, &pair
		}
	}
	if r.pair == nil {
		return nil, err
	}
	return r.pair, nil
}

// webhookServer lets everything in, and makes another version of an object by naming it so. It closes each connection, so
// that each review is a handshake.
func webhookServer(pair *reloadedPair) *http.Server {
	server := &http.Server{
		Handler:      http.HandlerFunc(serveReview),
		TLSConfig:    &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     log.New(os.Stdout, "", 0),
	}
	server.SetKeepAlivesEnabled(false)
	return server
}

type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		UID               string           `json:"uid"`
		DesiredAPIVersion string           `json:"desiredAPIVersion"`
		Objects           []map[string]any `json:"objects"`
	} `json:"request,omitempty"`
	Response map[string]any `json:"response,omitempty"`
}

func serveReview(w http.ResponseWriter, r *http.Request) {
	var asked review
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	response := map[string]any{"uid": asked.Request.UID}
	switch asked.Kind {
	case "AdmissionReview":
		response["allowed"] = true
	case "ConversionReview":
		for _, object := range asked.Request.Objects {
			object["apiVersion"] = asked.Request.DesiredAPIVersion
		}
		response["convertedObjects"] = asked.Request.Objects
		response["result"] = map[string]any{"status": "Success"}
	default:
		http.Error(w, "a review of an unknown kind", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review{APIVersion: asked.APIVersion, Kind: asked.Kind, Response: response})
}
