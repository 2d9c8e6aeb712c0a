"""What `python -m realtime.doctor` looks at: small judgements that can be fed, and the readers that feed them."""
