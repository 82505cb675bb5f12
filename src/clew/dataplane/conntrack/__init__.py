"""Connections that lead nowhere any more: UDP flows whose backend has gone. Its README says when and why."""
