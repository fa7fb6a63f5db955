#!/bin/sh
# amaranth 0.5.10: converting a selection from a constant (Const.word_select) takes time with the square of a word's width.
#
# Guess: the search for combinational loops passes over constants, through which none can lead, so that a table costs as much
# as it has bits, whether it is a selection from a constant or an Array.
# Seen: for each bit that leaves the selection it looks at every bit of the constant. A table of 256 words is searched
# 4 times as long when its words are twice as wide; an Array of the same constants, which becomes a switch, is not.
# A design of many such tables spent two thirds of its conversion there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check amaranth==0.5.10
cat > "$folder/seen.py" <<'PYTHON'
from amaranth.back import rtlil
from amaranth.hdl import Array, Const, Module, Signal, _nir

looked_at = 0


def counted(cell):
    edges = cell.comb_edges_to

    def of_bit(self, bit):
        global looked_at
        for edge in edges(self, bit):
            looked_at += 1
            yield edge

    cell.comb_edges_to = of_bit


for cell in vars(_nir).values():
    if isinstance(cell, type) and "comb_edges_to" in vars(cell):
        counted(cell)


def search(words, width, way):
    global looked_at
    looked_at = 0
    m, index, out = Module(), Signal(range(words)), Signal(width)
    values = [(k * 37 + 11) % 2**width for k in range(words)]
    if way == "word_select":
        whole = sum(value << k * width for k, value in enumerate(values))
        m.d.comb += out.eq(Const(whole, words * width).word_select(index, width))
    else:
        m.d.comb += out.eq(Array(Const(value, width) for value in values)[index])
    rtlil.convert(m, ports=[index, out])
    return looked_at


for way in ("word_select", "Array"):
    print(way, [search(256, width, way) for width in (8, 16, 32)])
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
word_select [16448, 65664, 262400]
Array [39304, 43408, 51616]
TEXT
diff "$folder/expected" "$folder/seen"
