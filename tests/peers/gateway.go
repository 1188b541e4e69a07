package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

type gateway struct {
	kube           *kube
	log            *slog.Logger
	skipVerify     bool
	reportStatus   bool
	statusInterval time.Duration
	heartbeat      time.Duration
	upgrader       websocket.Upgrader

	mu          sync.Mutex
	connections map[*connection]struct{}
	stats       gatewayStats
	// What the plane resources, by path, are owed and have been told.
	reports map[string]*report
}

// connection is one open WebSocket, its certificates as presented at its start.
type connection struct {
	planeType, planeID string
	presented          []*x509.Certificate
	// The planes that the connection was last verified against, by path, with their versions, and which of them it
	// is authorised for.
	versions   map[string]string
	authorized map[string]bool
}

type gatewayStats struct {
	Handshakes    int            `json:"handshakes"`   // TLS handshakes that came as far as the client's certificate
	TLSErrors     int            `json:"tlsErrors"`    // TLS handshakes that failed over TLS (alerts)
	TLSOther      int            `json:"tlsOther"`     // ... and that the peer merely left (EOF, reset, time-out)
	Rejected      int            `json:"rejected"`     // upgrades refused
	Connected     int            `json:"connected"`    // upgrades granted since the start
	Probes        int            `json:"probes"`       // ... of which were an agent's probes
	Deauthorized  int            `json:"deauthorized"` // open connections that lost their last authorisation
	Open          int            `json:"open"`         // connections open now
	Authorized    int            `json:"authorized"`   // ... and authorised now
	RejectReasons map[string]int `json:"rejectReasons"`
}

func runGateway(args []string) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	host := flags.String("host", "127.0.0.1", "address to listen on")
	port := flags.Int("port", 8443, "TLS port")
	internalPort := flags.Int("internal-port", 0, "TLS port of the internal API; 0: it is served with the agents'")
	internalMTLS := flags.Bool("internal-mtls", false, "require a client certificate there, of whatever name")
	internalCA := flags.String("internal-client-ca-cert", "", "PEM file, read once: who signs those")
	healthPort := flags.Int("health-port", 0, "plain HTTP port for /health and /stats; 0: none")
	serverCert := flags.String("server-cert", "", "PEM file, read once")
	serverKey := flags.String("server-key", "", "PEM file, read once")
	kubeconfigPath := flags.String("kubeconfig", "", "where the plane resources live")
	skip := flags.Bool("skip-client-cert-verify", false, "let any agent in")
	reportStatus := flags.Bool("report-status", true, "write status.agentConnection of the plane resources")
	poll := flags.Duration("poll-interval", 200*time.Millisecond, "how often changed plane resources are looked for")
	heartbeat := flags.Duration("heartbeat-interval", 30*time.Second, "how often lastHeartbeatTime is written")
	bindTimeout := flags.Duration("bind-timeout", 10*time.Second, "how long to wait for a port that is in use")
	stdin := flags.Bool("until-stdin-closes", false, "end when standard input does")
	if err := parseTolerantly(flags, args); err != nil {
		return err
	}
	logger := newLogger()

	pair, err := tls.LoadX509KeyPair(*serverCert, *serverKey)
	if err != nil {
		return fmt.Errorf("failed to load server certificate: %w", err)
	}
	client, err := newKube(*kubeconfigPath)
	if err != nil {
		return err
	}
	g := newGateway(client, logger)
	g.skipVerify, g.reportStatus, g.statusInterval, g.heartbeat = *skip, *reportStatus, *poll, *heartbeat

	failed := make(chan error, 3)
	if *internalPort != 0 {
		internal, err := g.internalServer(pair, *internalMTLS, *internalCA)
		if err != nil {
			return err
		}
		listener, err := listen(*host, *internalPort, *bindTimeout)
		if err != nil {
			return err
		}
		go func() { failed <- internal.ServeTLS(listener, "", "") }()
	}
	listener, err := listen(*host, *port, *bindTimeout)
	if err != nil {
		return err
	}
	server := g.server(pair, *internalPort == 0)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	if *healthPort != 0 {
		health, err := listen(*host, *healthPort, *bindTimeout)
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(health, g.healthHandler()) }()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if g.reportStatus {
		go g.forgetPredecessor(ctx)
	}
	go g.watchPlanes(ctx, *poll)
	logger.Info("cluster gateway started", "address", listener.Addr().String())
	select {
	case err := <-failed:
		return err
	case <-stopSignal(*stdin):
		logger.Info("cluster gateway stopped")
		return nil
	}
}

func newGateway(client *kube, logger *slog.Logger) *gateway {
	return &gateway{
		kube: client, log: logger,
		statusInterval: 200 * time.Millisecond, heartbeat: 30 * time.Second,
		connections: map[*connection]struct{}{},
		reports:     map[string]*report{},
		stats:       gatewayStats{RejectReasons: map[string]int{}},
	}
}

// listen waits for a port that a predecessor has not let go of yet.
func listen(host string, port int, patience time.Duration) (net.Listener, error) {
	deadline := time.Now().Add(patience)
	for {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return listener, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (g *gateway) server(pair tls.Certificate, withAPI bool) *http.Server {
	mux := http.NewServeMux()
	if withAPI {
		mux.HandleFunc(internalPath, serveInternal)
	}
	mux.HandleFunc("/ws", g.serveWebSocket)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "OK") })
	return &http.Server{
		Handler: mux,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientAuth:   tls.RequestClientCert,
			MinVersion:   tls.VersionTLS12,
			VerifyConnection: func(tls.ConnectionState) error {
				g.count(func(s *gatewayStats) { s.Handshakes++ })
				return nil
			},
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // a WebSocket needs HTTP/1.1
		ErrorLog:     log.New(errorLog{g}, "", 0),
	}
}

// errorLog takes what http.Server prints, a line at a time.
type errorLog struct{ g *gateway }

func (e errorLog) Write(line []byte) (int, error) {
	text := strings.TrimRight(string(line), "\n")
	if strings.Contains(text, "TLS handshake error") {
		e.g.count(func(s *gatewayStats) {
			if strings.Contains(text, "tls:") || strings.Contains(text, "x509:") {
				s.TLSErrors++
			} else {
				s.TLSOther++
			}
		})
	}
	e.g.log.Error(text)
	return len(line), nil
}

func (g *gateway) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "OK") })
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		stats := g.stats
		stats.Open = len(g.connections)
		for c := range g.connections {
			if len(c.authorized) > 0 {
				stats.Authorized++
			}
		}
		text, err := json.Marshal(stats)
		g.mu.Unlock()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n'))
	})
	return mux
}

func (g *gateway) count(change func(*gatewayStats)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.stats)
}

func (g *gateway) reject(w http.ResponseWriter, status int, reason string) {
	g.count(func(s *gatewayStats) {
		s.Rejected++
		s.RejectReasons[reason]++
	})
	http.Error(w, reason, status)
}

func (g *gateway) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	planeType, planeID := r.URL.Query().Get("planeType"), r.URL.Query().Get("planeID")
	logger := g.log.With("planeType", planeType, "planeID", planeID, "remote", r.RemoteAddr)
	if planeKinds[planeType] == nil || planeID == "" {
		logger.Warn("connection rejected: bad planeType or planeID")
		g.reject(w, http.StatusBadRequest, "bad request")
		return
	}
	presented := r.TLS.PeerCertificates
	if len(presented) == 0 && !g.skipVerify {
		logger.Warn("connection rejected: no client certificate presented")
		g.reject(w, http.StatusUnauthorized, "no client certificate")
		return
	}
	all, err := listPlanes(r.Context(), g.kube, planeType)
	if err != nil {
		logger.Error("failed to list plane CRs", "error", err.Error())
		g.reject(w, http.StatusInternalServerError, "API error")
		return
	}
	planes := withPlaneID(all, planeID)
	if len(planes) == 0 {
		logger.Warn(fmt.Sprintf("no %s CRs found with planeID '%s'", planeType, planeID))
		g.reject(w, http.StatusUnauthorized, "no CRs")
		return
	}
	c := &connection{planeType: planeType, planeID: planeID, presented: presented}
	reasons := g.verify(r.Context(), c, planes)
	if len(c.authorized) == 0 {
		logger.Warn("certificate not valid for any CR", "reasons", reasons)
		g.reject(w, http.StatusUnauthorized, "certificate not valid")
		return
	}
	socket, err := g.upgrader.Upgrade(w, r, nil)
	if err != nil {
		logger.Warn("WebSocket upgrade failed", "error", err.Error())
		g.count(func(s *gatewayStats) {
			s.Rejected++
			s.RejectReasons["upgrade failed"]++
		})
		return
	}
	defer socket.Close()

	// A probe is verified as any agent is, and is none.
	probe := r.URL.Query().Get("probe") != ""
	validCRs := len(c.authorized)
	g.mu.Lock()
	g.stats.Connected++
	if probe {
		g.stats.Probes++
	} else {
		g.connections[c] = struct{}{}
		g.owe(c)
	}
	g.mu.Unlock()
	var serial string
	if len(presented) > 0 {
		serial = fmt.Sprintf("%x", presented[0].SerialNumber)
	}
	logger.Info("agent connected successfully", "serial", serial, "validCRs", validCRs, "probe", probe)

	// Reading answers pings, and ends when the peer does.
	for {
		if _, _, err := socket.ReadMessage(); err != nil {
			break
		}
	}
	if probe {
		return
	}
	g.mu.Lock()
	delete(g.connections, c)
	g.owe(c)
	g.mu.Unlock()
	logger.Info("agent disconnected")
}

// verify verifies the connection's certificates against each plane, notes the outcome, and returns why planes refused.
func (g *gateway) verify(ctx context.Context, c *connection, planes []*plane) map[string]string {
	versions, authorized, reasons := map[string]string{}, map[string]bool{}, map[string]string{}
	for _, v := range verifyAgainstEach(ctx, g.kube, planes, c.presented) {
		versions[v.plane.path()] = v.plane.version()
		if v.err == nil || g.skipVerify {
			authorized[v.plane.path()] = true
		} else {
			reasons[v.plane.path()] = v.err.Error()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.versions, c.authorized = versions, authorized
	return reasons
}

// watchPlanes looks for plane resources whose generation changed and verifies the open connections of their planeID
// again, by what they presented at their start.
func (g *gateway) watchPlanes(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		g.mu.Lock()
		byType := map[string][]*connection{}
		for c := range g.connections {
			byType[c.planeType] = append(byType[c.planeType], c)
		}
		g.mu.Unlock()
		for planeType, connections := range byType {
			all, err := listPlanes(ctx, g.kube, planeType)
			if err != nil {
				g.log.Debug("failed to list plane CRs", "error", err.Error())
				continue
			}
			for _, c := range connections {
				if planes := withPlaneID(all, c.planeID); c.changed(planes) {
					g.reverify(ctx, c, planes)
				}
			}
		}
		if g.reportStatus {
			g.sendReports(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

// changed is only called by the one goroutine that changes versions once a connection stands.
func (c *connection) changed(planes []*plane) bool {
	if len(planes) != len(c.versions) {
		return true
	}
	for _, p := range planes {
		if c.versions[p.path()] != p.version() {
			return true
		}
	}
	return false
}

func (g *gateway) reverify(ctx context.Context, c *connection, planes []*plane) {
	before := c.authorized
	reasons := g.verify(ctx, c, planes)
	g.mu.Lock()
	defer g.mu.Unlock()
	// The object may be a new one of the same name: told afresh.
	for _, paths := range []map[string]bool{before, c.authorized} {
		for path := range paths {
			g.oweFor(path)
			g.reports[path].told = -1
		}
	}
	if len(before) > 0 && len(c.authorized) == 0 {
		g.stats.Deauthorized++
		g.log.Warn("agent lost its authorization", "planeType", c.planeType, "planeID", c.planeID, "reasons", reasons)
		return
	}
	g.log.Info("agent re-verified", "planeType", c.planeType, "planeID", c.planeID, "validCRs", len(c.authorized))
}
