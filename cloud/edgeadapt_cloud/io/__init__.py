"""Adapters to the outside: SQLite, files, MQTT, keys, image codecs. Foreign errors are translated here."""
