package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

type agentStats struct {
	Attempts            int    `json:"attempts"`
	Connected           bool   `json:"connected"`
	Connects            int    `json:"connects"`
	FailedByCertificate int    `json:"failedByCertificate"`
	FailedOther         int    `json:"failedOther"`
	LastError           string `json:"lastError"`
	Probes              int    `json:"probes"` // of the attempts
}

// counters are what a caller has counted; the file that they are written to is brought up to date by keep.
type counters struct {
	mu    sync.Mutex
	stats agentStats
	dirty bool
}

type agent struct {
	counters
	log    *slog.Logger
	dialer websocket.Dialer
	url    string
	probe  string
}

func runAgent(args []string) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	serverURL := flags.String("server-url", "", "wss://host:port/ws")
	planeType := flags.String("plane-type", "dataplane", "dataplane, buildplane, workflowplane or observabilityplane")
	planeID := flags.String("plane-id", "", "the plane that the agent says it is")
	clientCert := flags.String("client-cert", "", "PEM file, read once; none: no certificate is presented")
	clientKey := flags.String("client-key", "", "PEM file, read once")
	serverCA := flags.String("server-ca", "", "PEM file, read once; unusable: the system's roots")
	serverName := flags.String("server-name", "", "the name to verify the server by, instead of the URL's")
	delay := flags.Duration("reconnect-delay", 5*time.Second, "fixed pause between attempts")
	probe := flags.Duration("probe-interval", 0, "open and close a further connection this often; 0: never")
	statsFile := flags.String("stats-file", "", "where counters are written as JSON")
	stdin := flags.Bool("until-stdin-closes", false, "end when standard input does")
	if err := parseTolerantly(flags, args); err != nil {
		return err
	}
	stop := stopSignal(*stdin)
	a := &agent{log: newLogger()}
	a.dirty = true
	settings, err := agentTLS(a.log, *clientCert, *clientKey, *serverCA, *serverName)
	if err != nil {
		return err
	}
	target, err := url.Parse(*serverURL)
	if err != nil || target.Host == "" {
		return fmt.Errorf("bad --server-url %q", *serverURL)
	}
	query := target.Query()
	query.Set("planeType", *planeType)
	query.Set("planeID", *planeID)
	target.RawQuery = query.Encode()
	a.url = target.String()
	query.Set("probe", "1")
	target.RawQuery = query.Encode()
	a.probe = target.String()
	a.dialer = websocket.Dialer{TLSClientConfig: settings, HandshakeTimeout: 10 * time.Second}

	go a.stayConnected(*delay)
	if *probe > 0 {
		go a.keepProbing(*probe)
	}
	if *statsFile == "" {
		<-stop
		return nil
	}
	return a.keep(*statsFile, stop)
}

// agentTLS reads the agent's files. What makes a CA file unusable makes the agent trust the system's roots.
func agentTLS(logger *slog.Logger, cert, key, ca, serverName string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("failed to load client certificate: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		logger.Warn("failed to read server CA, using the system's roots", "error", err.Error())
		return settings, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		logger.Warn("failed to parse server CA, using the system's roots", "file", ca)
		return settings, nil
	}
	settings.RootCAs = pool
	return settings, nil
}

func (a *agent) stayConnected(delay time.Duration) {
	for {
		if socket := a.dial(a.url); socket != nil {
			a.change(func(s *agentStats) { s.Connected = true })
			a.log.Info("connected to control plane")
			for {
				if _, _, err := socket.ReadMessage(); err != nil {
					a.log.Warn("connection lost", "error", err.Error())
					break
				}
			}
			_ = socket.Close()
			a.change(func(s *agentStats) { s.Connected = false })
		}
		time.Sleep(delay)
	}
}

func (a *agent) keepProbing(interval time.Duration) {
	for range time.Tick(interval) {
		a.change(func(s *agentStats) { s.Probes++ })
		if socket := a.dial(a.probe); socket != nil {
			bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
			_ = socket.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
			_ = socket.Close()
		}
	}
}

func (a *agent) dial(target string) *websocket.Conn {
	socket, response, err := a.dialer.Dial(target, nil)
	if err == nil {
		a.change(func(s *agentStats) {
			s.Attempts++
			s.Connects++
		})
		return socket
	}
	status := 0
	if response != nil {
		status = response.StatusCode
	}
	byCertificate := a.failed(err, status)
	a.log.Error("dial failed", "error", err.Error(), "status", status, "byCertificate", byCertificate,
		"text", "dial failed: "+err.Error())
	return nil
}

// failedByCertificate tells a failed verification, on either side, from a peer that is not there.
func failedByCertificate(err error, status int) bool {
	if errors.Is(err, websocket.ErrBadHandshake) {
		return status == http.StatusUnauthorized
	}
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "x509:") || strings.Contains(text, "remote error: tls:")
}

func (c *counters) change(f func(*agentStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
	c.dirty = true
}

// failed counts an attempt that failed, and tells whether a certificate was the cause.
func (c *counters) failed(err error, status int) bool {
	byCertificate := failedByCertificate(err, status)
	c.change(func(s *agentStats) {
		s.Attempts++
		s.LastError = err.Error()
		if byCertificate {
			s.FailedByCertificate++
		} else {
			s.FailedOther++
		}
	})
	return byCertificate
}

// keep writes the counters after each change, at most every 100 ms, and once more at the end.
func (c *counters) keep(path string, stop <-chan struct{}) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-stop:
			last = true
		case <-ticker.C:
		}
		c.mu.Lock()
		stats, dirty := c.stats, c.dirty
		c.dirty = false
		c.mu.Unlock()
		if !dirty {
			continue
		}
		if err := writeAtomically(path, stats); err != nil {
			return err
		}
	}
	return nil
}

func writeAtomically(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(append(text, '\n')); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
