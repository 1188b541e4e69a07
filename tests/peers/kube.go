package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// kube is the little of a Kubernetes client that the gateway needs.
type kube struct {
	server string
	token  string
	http   *http.Client
}

var (
	errNotFound        = errors.New("not found")
	errTooManyRequests = errors.New("too many requests")
)

type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Clusters       []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server     string `json:"server"`
			CA         string `json:"certificate-authority"`
			CAData     string `json:"certificate-authority-data"`
			Insecure   bool   `json:"insecure-skip-tls-verify"`
			ServerName string `json:"tls-server-name"`
		} `json:"cluster"`
	} `json:"clusters"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token     string `json:"token"`
			TokenFile string `json:"tokenFile"`
			Cert      string `json:"client-certificate"`
			CertData  string `json:"client-certificate-data"`
			Key       string `json:"client-key"`
			KeyData   string `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

func newKube(path string) (*kube, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config kubeconfig
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	k := &kube{}
	settings := &tls.Config{}
	var clusterName, userName string
	for _, c := range config.Contexts {
		if c.Name == config.CurrentContext {
			clusterName, userName = c.Context.Cluster, c.Context.User
		}
	}
	// Data wins over a file, and a file's path is relative to the kubeconfig.
	read := func(data, file string) ([]byte, error) {
		switch {
		case data != "":
			return base64.StdEncoding.DecodeString(data)
		case file == "":
			return nil, nil
		case !filepath.IsAbs(file):
			file = filepath.Join(filepath.Dir(path), file)
		}
		return os.ReadFile(file)
	}
	for _, c := range config.Clusters {
		if c.Name != clusterName {
			continue
		}
		k.server = strings.TrimRight(c.Cluster.Server, "/")
		settings.InsecureSkipVerify = c.Cluster.Insecure
		settings.ServerName = c.Cluster.ServerName
		ca, err := read(c.Cluster.CAData, c.Cluster.CA)
		if err != nil {
			return nil, err
		}
		if ca != nil {
			settings.RootCAs = x509.NewCertPool()
			settings.RootCAs.AppendCertsFromPEM(ca)
		}
	}
	if k.server == "" {
		return nil, fmt.Errorf("kubeconfig %s: the current context %q names no cluster", path, config.CurrentContext)
	}
	for _, u := range config.Users {
		if u.Name != userName {
			continue
		}
		k.token = u.User.Token
		if k.token == "" && u.User.TokenFile != "" {
			token, err := read("", u.User.TokenFile)
			if err != nil {
				return nil, err
			}
			k.token = strings.TrimSpace(string(token))
		}
		cert, err := read(u.User.CertData, u.User.Cert)
		if err != nil {
			return nil, err
		}
		key, err := read(u.User.KeyData, u.User.Key)
		if err != nil {
			return nil, err
		}
		if cert != nil {
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("kubeconfig %s: user %s: %w", path, userName, err)
			}
			settings.Certificates = []tls.Certificate{pair}
		}
	}
	k.http = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8},
	}
	return k, nil
}

// get waits, as client-go does, where the API server asks for it: the storage of a new kind takes a moment.
func (k *kube) get(ctx context.Context, path string, into any) error {
	for attempt := 0; ; attempt++ {
		err := k.do(ctx, http.MethodGet, path, "", nil, into)
		if !errors.Is(err, errTooManyRequests) || attempt == 30 || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (k *kube) mergePatch(ctx context.Context, path string, body any) error {
	return k.do(ctx, http.MethodPatch, path, "application/merge-patch+json", body, nil)
}

func (k *kube) do(ctx context.Context, method, path, contentType string, body, into any) error {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, k.server+path, payload)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "peers-gateway")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if k.token != "" {
		request.Header.Set("Authorization", "Bearer "+k.token)
	}
	response, err := k.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", method, path, errNotFound)
	case response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%s %s: %w", method, path, errTooManyRequests)
	case response.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}
