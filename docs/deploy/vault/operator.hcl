# An operator looks after the mounts. It reads no document and uses no key; what
# initialising makes it may make where it is missing, and never write over.
# Written for the ledger "main" and the standard mounts.

path "sys/mounts" {
  capabilities = ["read"]
}
path "sys/mounts/lethe-transit/tune" {
  capabilities = ["read", "update"]
}
path "sys/mounts/lethe-kv/tune" {
  capabilities = ["read", "update"]
}
path "lethe-transit/cache-config" {
  capabilities = ["read", "update"]
}
path "lethe-transit/config/keys" {
  capabilities = ["read", "update"]
}
path "lethe-kv/config" {
  capabilities = ["read", "update"]
}
path "lethe-kv/data/main/directory/+" {
  capabilities = ["create"]
}
path "lethe-kv/data/main/records/+" {
  capabilities = ["create"]
}
path "sys/health" {
  capabilities = ["read", "sudo"]
}
