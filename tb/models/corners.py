"""Small layers that no user must meet first: K < stride, padding that is no multiple of the stride, 1x1
maps, one channel, output padding, dilation, groups, nothing square."""

from selvage.mapping.schedule import PAPER_BASELINE, TRANSPOSED

LAYERS = {
    "small kernel": dict(op="conv_transpose", channels=3, outputs=2, height=3, width=2, kernel=(1, 2), stride=(2, 3)),
    "odd padding": dict(
        op="conv_transpose",
        channels=2,
        outputs=3,
        height=3,
        width=4,
        kernel=(3, 4),
        stride=(2, 3),
        pads=(1, 2, 0, 1),
        output_padding=(1, 2),
    ),
    "one pixel": dict(op="conv_transpose", channels=5, outputs=1, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
    "one channel": dict(op="conv_transpose", channels=1, outputs=1, height=4, width=3, kernel=(4, 2), stride=(2, 1)),
    "dilated": dict(
        op="conv_transpose",
        channels=2,
        outputs=2,
        height=3,
        width=3,
        kernel=(2, 3),
        stride=(2, 2),
        dilation=(3, 2),
        pads=(1, 0, 2, 1),
    ),
    "grouped": dict(
        op="conv_transpose", channels=4, outputs=6, height=2, width=3, kernel=(2, 2), stride=(2, 2), groups=2
    ),
    "strided convolution": dict(
        op="conv", channels=3, outputs=4, height=7, width=5, kernel=(3, 2), stride=(3, 2), pads=(0, 1, 1, 0)
    ),
    "rows left over": dict(op="conv", channels=2, outputs=2, height=6, width=6, kernel=(1, 1), stride=(4, 4)),
    "depthwise": dict(op="conv", channels=5, outputs=5, height=4, width=4, kernel=(3, 3), pads=(1, 1, 1, 1), groups=5),
    "dense": dict(op="dense", channels=37, outputs=11),
}
CASES = [
    (name, schedule)
    for name, fields in LAYERS.items()
    for schedule in ((*TRANSPOSED, PAPER_BASELINE) if fields["op"] == "conv_transpose" else ("auto",))
]
