# A gateway issues keys and unwraps them. It cannot destroy, configure, list or
# export anything, and cannot make a key by encrypting under a name that is not
# there. Written for the ledger "main" and the standard mounts.

path "lethe-transit/keys/+" {
  capabilities      = ["update"]
  denied_parameters = { "exportable" = [], "allow_plaintext_backup" = [], "derived" = [], "type" = [] }
}
path "lethe-transit/datakey/plaintext/+" {
  capabilities = ["update"]
}
path "lethe-transit/decrypt/+" {
  capabilities = ["update"]
}

path "lethe-kv/data/main/layout" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/material" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/directory/+" {
  capabilities = ["read", "update"]
}
path "lethe-kv/data/main/records/+" {
  capabilities = ["read", "update"]
}
path "lethe-kv/data/main/persons/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/data/main/blocks/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/data/main/documents/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/data/main/retention/+/+/+" {
  capabilities = ["create", "read", "update"]
}
