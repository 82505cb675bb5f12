"""CNI in pure form: configuration, results, error codes, versions, and the messages on the agent's socket."""
