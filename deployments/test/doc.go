// Package test checks what is deployed with the tools that read it: the chart with Helm and the code of Kubernetes' API server,
// the compose files with the library of Docker Compose, the unit with systemd; it runs the example clients against the program
// as it is shipped, and backs its store up. It is a module of its own so that the program depends on none of them.
package test
