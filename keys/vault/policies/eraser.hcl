# An eraser destroys keys and wraps what stays anew; it signs receipts and the
# journal. So it can all that a gateway can, may delete Transit keys, and may
# forget documents under random names: never a table, a retention record or what
# the ledger holds for ever. It lists Transit keys to sweep what was left over.
# Written for the ledger "main" and the standard mounts.

path "lethe-transit/keys" {
  capabilities = ["list"]
}
path "lethe-transit/keys/+" {
  capabilities      = ["read", "update", "delete"]
  denied_parameters = { "exportable" = [], "allow_plaintext_backup" = [], "derived" = [], "type" = [] }
}
path "lethe-transit/keys/+/config" {
  capabilities       = ["update"]
  allowed_parameters = { "deletion_allowed" = [true] }
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
path "lethe-kv/data/main/signing/+" {
  capabilities = ["read"]
}
path "lethe-kv/data/main/directory/+" {
  capabilities = ["read", "update"]
}
path "lethe-kv/destroy/main/directory/+" {
  capabilities = ["update"]
}
path "lethe-kv/data/main/records/+" {
  capabilities = ["read", "update"]
}
path "lethe-kv/destroy/main/records/+" {
  capabilities = ["update"]
}
path "lethe-kv/data/main/persons/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/metadata/main/persons/+" {
  capabilities = ["delete"]
}
path "lethe-kv/data/main/blocks/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/metadata/main/blocks/+" {
  capabilities = ["delete"]
}
path "lethe-kv/data/main/documents/+" {
  capabilities = ["create", "read", "update"]
}
path "lethe-kv/metadata/main/documents/+" {
  capabilities = ["delete"]
}
path "lethe-kv/data/main/retention/+/+/+" {
  capabilities = ["create", "read", "update"]
}
