"""The shard store: a directory of HDF5 files and the manifest that says which of them count.

schema.py       the arrays of a shard, and the hash of their content
cells.py        where each class lies in a label map, per 64x64 cell
opening.py      is a file the shard that belongs there, of the form that the schema says?
writer.py       samples -> a shard, streamed, synced and read back
reader.py       a store -> samples
parsing.py      plain values -> dataclasses, each of its declared type
manifest.py     which shards exist, from which inputs and settings
transaction.py  one run's hold on a store: which shards are done, which it has to write, and how they enter
verify.py       does the store still hold what was written?
"""
