package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// report is what one plane resource's status.agentConnection should say, as OpenChoreo's controller-manager writes it.
type report struct {
	told   int // agents, as last written; -1: nothing yet
	toldAt time.Time
	dirty  bool
}

// owe notes that the planes of a connection may have to be told of a change. The caller holds the lock.
func (g *gateway) owe(c *connection) {
	for path := range c.authorized {
		g.oweFor(path)
	}
}

func (g *gateway) oweFor(path string) {
	r := g.reports[path]
	if r == nil {
		r = &report{told: -1}
		g.reports[path] = r
	}
	r.dirty = true
}

// forgetPredecessor withdraws what an earlier gateway reported: its agents are not connected to this one.
func (g *gateway) forgetPredecessor(ctx context.Context) {
	for planeType := range planeKinds {
		for ctx.Err() == nil {
			planes, err := listPlanes(ctx, g.kube, planeType)
			if err != nil {
				time.Sleep(g.statusInterval)
				continue
			}
			g.mu.Lock()
			for _, p := range planes {
				if p.Status.AgentConnection != nil && p.Status.AgentConnection.Connected {
					g.oweFor(p.path())
				}
			}
			g.mu.Unlock()
			break
		}
	}
}

func (g *gateway) sendReports(ctx context.Context) {
	type due struct {
		path   string
		agents int
		body   any
	}
	var dues []due
	now := time.Now()
	g.mu.Lock()
	agents := map[string]int{}
	for c := range g.connections {
		for path := range c.authorized {
			agents[path]++
		}
	}
	for path, r := range g.reports {
		n := agents[path]
		heartbeat := n > 0 && now.Sub(r.toldAt) >= g.heartbeat
		if !heartbeat && !(r.dirty && n != r.told) {
			r.dirty = false
			continue
		}
		dues = append(dues, due{path, n, agentConnection(r.told, n, now)})
		r.dirty = false
	}
	g.mu.Unlock()
	for _, d := range dues {
		err := g.kube.mergePatch(ctx, d.path+"/status", d.body)
		g.mu.Lock()
		r := g.reports[d.path]
		switch {
		case err == nil:
			r.told, r.toldAt = d.agents, now
		case errors.Is(err, errNotFound):
			delete(g.reports, d.path)
		default:
			r.dirty = true
			g.log.Debug("failed to report the agent connection", "error", err.Error())
		}
		g.mu.Unlock()
	}
}

func agentConnection(before, agents int, now time.Time) any {
	stamp := now.UTC().Format(time.RFC3339)
	status := map[string]any{"connected": agents > 0, "connectedAgents": agents}
	if agents > 0 {
		status["lastHeartbeatTime"] = stamp
		status["message"] = fmt.Sprintf("%d agents connected", agents)
		if agents == 1 {
			status["message"] = "1 agent connected"
		}
		if agents > before {
			status["lastConnectedTime"] = stamp
		}
	} else {
		status["message"] = "No agents connected"
		status["lastDisconnectedTime"] = stamp
	}
	return map[string]any{"status": map[string]any{"agentConnection": status}}
}
