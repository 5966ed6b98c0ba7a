"""The published language of Assize: events, their bytes, topics, headers, signatures and ids.

Other systems depend on this package's files; a released schema never changes (`released.lock` proves it).
Nothing here knows a service, a database or a socket.
"""
