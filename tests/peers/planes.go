package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"
)

const planeAPI = "/apis/openchoreo.dev/v1alpha1"

// The plural names of the kinds that an agent's planeType stands for.
var planeKinds = map[string][]string{
	"dataplane":          {"dataplanes", "clusterdataplanes"},
	"buildplane":         {"buildplanes", "clusterbuildplanes"},
	"workflowplane":      {"workflowplanes", "clusterworkflowplanes"},
	"observabilityplane": {"observabilityplanes", "clusterobservabilityplanes"},
}

type reference struct {
	Name      string `json:"name"`
	Key       string `json:"key"`
	Namespace string `json:"namespace"`
}

type plane struct {
	Metadata struct {
		Name       string `json:"name"`
		Namespace  string `json:"namespace"`
		UID        string `json:"uid"`
		Generation int64  `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		PlaneID      string `json:"planeID"`
		ClusterAgent struct {
			ClientCA struct {
				Value        string     `json:"value"`
				SecretRef    *reference `json:"secretRef"`
				SecretKeyRef *reference `json:"secretKeyRef"`
			} `json:"clientCA"`
		} `json:"clusterAgent"`
	} `json:"spec"`
	Status struct {
		AgentConnection *struct {
			Connected bool `json:"connected"`
		} `json:"agentConnection"`
	} `json:"status"`

	plural string
}

func (p *plane) planeID() string {
	if p.Spec.PlaneID != "" {
		return p.Spec.PlaneID
	}
	return p.Metadata.Name
}

// path is the object's address below the API server, and serves as its identity.
func (p *plane) path() string {
	if p.Metadata.Namespace == "" {
		return planeAPI + "/" + p.plural + "/" + p.Metadata.Name
	}
	return planeAPI + "/namespaces/" + p.Metadata.Namespace + "/" + p.plural + "/" + p.Metadata.Name
}

// version changes with each edit of the spec, and when another object takes the name.
func (p *plane) version() string {
	return fmt.Sprintf("%s/%d", p.Metadata.UID, p.Metadata.Generation)
}

// listPlanes reads all plane resources of one type. A kind that the API server does not know has none.
func listPlanes(ctx context.Context, k *kube, planeType string) ([]*plane, error) {
	var planes []*plane
	for _, plural := range planeKinds[planeType] {
		var list struct {
			Items []*plane `json:"items"`
		}
		err := k.get(ctx, planeAPI+"/"+plural, &list)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range list.Items {
			p.plural = plural
			planes = append(planes, p)
		}
	}
	return planes, nil
}

func withPlaneID(planes []*plane, id string) []*plane {
	var found []*plane
	for _, p := range planes {
		if p.planeID() == id {
			found = append(found, p)
		}
	}
	return found
}

// clientCA is the PEM text that the plane's agents are verified against: an inline value wins over a reference.
func clientCA(ctx context.Context, k *kube, p *plane) ([]byte, error) {
	source := p.Spec.ClusterAgent.ClientCA
	if source.Value != "" {
		return []byte(source.Value), nil
	}
	ref := source.SecretKeyRef
	if ref == nil {
		ref = source.SecretRef
	}
	if ref == nil {
		return nil, errors.New("no clientCA configured")
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = p.Metadata.Namespace
	}
	var secret struct {
		Data map[string]string `json:"data"`
	}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/secrets/" + url.PathEscape(ref.Name)
	if err := k.get(ctx, path, &secret); err != nil {
		return nil, fmt.Errorf("clientCA: %w", err)
	}
	encoded, ok := secret.Data[ref.Key]
	if !ok {
		return nil, fmt.Errorf("clientCA: Secret %s/%s has no key %q", namespace, ref.Name, ref.Key)
	}
	return base64.StdEncoding.DecodeString(encoded)
}

// verifyClient verifies the chain that an agent presented, leaf first, against one plane's clientCA.
func verifyClient(presented []*x509.Certificate, ca []byte, now time.Time) error {
	if len(presented) == 0 {
		return errors.New("no client certificate presented")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("clientCA holds no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	_, err := presented[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// verdict is what one plane makes of a presented chain.
type verdict struct {
	plane *plane
	err   error
}

func verifyAgainstEach(ctx context.Context, k *kube, planes []*plane, presented []*x509.Certificate) []verdict {
	verdicts := make([]verdict, 0, len(planes))
	for _, p := range planes {
		ca, err := clientCA(ctx, k, p)
		if err == nil {
			err = verifyClient(presented, ca, time.Now())
		}
		verdicts = append(verdicts, verdict{p, err})
	}
	return verdicts
}
