package postgres_test

const childURL = "LETHE_VIEWS_CHILD"

func child() error { return nil }
