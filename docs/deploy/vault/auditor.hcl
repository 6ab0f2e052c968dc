# An auditor sees what exists: entries, records and whether a Transit key is
# there. It opens nothing and changes nothing. Written for the ledger "main" and
# the standard mounts.

path "lethe-transit/keys/+" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/layout" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/directory/+" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/records/+" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/retention/+/+/+" {
  capabilities = ["read"]
}
path "lethe-kv/metadata/main/persons/+" {
  capabilities = ["read"]
}
