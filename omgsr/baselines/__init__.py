"""What stands beside OMGSR in the tables, behind the one `Method` protocol of `inference`."""
