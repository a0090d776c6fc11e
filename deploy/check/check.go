// Package check holds the deployment to the tools that will read it: docker-compose.yml to compose's own loader, the Helm chart to Helm's engine and to the types of
// Kubernetes' API, nats-server's configuration to nats-server, the Dockerfile to BuildKit's parser. It is a module of its own, so that none of them moves a
// version of what is shipped; make deploy-check runs it.
package check
