"""Pages for people: one HTML file each that needs no script and no network, from templates that escape what they show.

frame.html.j2    what every page has around it: extend it, and fill its blocks `title`, `header` and `main`
parts.html.j2    macros: facts, a figure of a chart, a table, a bar, a swatch of a colour, a legend, a picture
chart.svg.j2     a line chart
style.css        how all of them look
"""
