"""What is held: patients, studies, series and instances, in a database that says where each file is.

The files are the truth; all that stands here is made from them, and can be made anew. Knows SQL and the attributes of
the query models (PS3.4 annex C), and neither messages, nor sockets, nor YAML.
"""
