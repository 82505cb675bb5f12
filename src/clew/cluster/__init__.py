"""The lab's cluster: API server, controllers, scheduler, kubelets, runtime, fabric."""
