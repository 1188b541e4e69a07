module external-ca-operator/tests/peers

go 1.24.0

require (
	github.com/gorilla/websocket v1.5.3
	sigs.k8s.io/yaml v1.6.0
)

require go.yaml.in/yaml/v2 v2.4.2 // indirect
