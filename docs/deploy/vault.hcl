# One node of Vault, for keys alone. Three of them in earnest, with a seal of your
# own (KMS, HSM or transit) instead of unseal keys.
ui            = false
disable_mlock = true
api_addr      = "https://vault:8200"
cluster_addr  = "https://vault:8201"

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/certs/vault/node.crt"
  tls_key_file  = "/certs/vault/node.key"
}

storage "raft" {
  path    = "/vault/file"
  node_id = "vault"
  # The raft log keeps what was deleted until it is cut: cut it early, so that the
  # residue of destroyed keys is short-lived.
  trailing_logs      = 1000
  snapshot_threshold = 1000
}
