"""What stands beside OMGSR in the tables, behind the one `Method` protocol of `inference`.

May import `inference` and the rooms before it.
"""
