"""What a store holds, to be seen and decided on: pages, pictures, and the decisions that people take.

legend.py      the classes of a store, as pages number them
rows.py        a row per sample, in columns
survey.py      one pass over a store: rows, and counts over all samples
verdict.py     up to which offset labels are safe, in a sentence
pictures.py    samples and annotated frames as small pictures with their maps
scripts.py     data as scripts, which a page may load from a disk
contents.py    the files of a report by their names, made when they are asked for
folder.py      a report as a folder
looking.py     a store opened to be looked at
report.py      a store to such a folder
decisions.py   which samples people have accepted and rejected
desk.py        a store, its page, and the decisions that are saved
server.py      a desk, for a browser on this machine alone
show.py        one clip as a video or a strip
page/          the page's template, script and style
"""
