"""Routes to pods told by BGP or OSPF: BIRD's configuration, and BIRD run and reconfigured. See README.md."""
