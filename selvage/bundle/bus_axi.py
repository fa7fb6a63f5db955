"""AXI4-Lite and AXI4-Stream in a shell's bundle: its page, its host in the self-test, sources and sinks."""

from collections.abc import Sequence

from selvage.bundle.buses import REFUSED, BusFiles
from selvage.hw.shell.axi import FrameParameters
from selvage.hw.shell.registers import State

_PAGE = """\
AXI4-Stream in, `s_axis_k`, and out, `m_axis_k`: `tlast` with the last word of each
image and with no other; of `data_bits` the lowest are the word. AXI4-Lite, `s_axil`, has the registers."""

_ENDS = """\
`abort` ends a run. What sources still send of frames that have begun is dropped up to its `tlast` while
   STATUS.dropping is high, or until `start` or `abort` is written: stop the source before. A second `abort` also
   withdraws words that no sink takes, which STATUS.state `stopping` waits for."""

AXI_LITE = f"""\
  reg s_axil_awvalid, s_axil_wvalid, s_axil_arvalid, waits, refused;
  reg [1:0] taken;
  reg [11:0] s_axil_awaddr, s_axil_araddr;
  reg [31:0] s_axil_wdata;
  wire s_axil_awready, s_axil_wready, s_axil_bvalid, s_axil_arready, s_axil_rvalid;
  wire [1:0] s_axil_bresp, s_axil_rresp;
  wire [31:0] s_axil_rdata;
  wire [2:0] s_axil_awprot = 3'd0;
  wire [2:0] s_axil_arprot = 3'd0;
  wire [3:0] s_axil_wstrb = 4'hf;
  wire s_axil_bready = 1'b1;
  wire s_axil_rready = 1'b1;
  initial begin
    s_axil_awvalid = 1'b0;
    s_axil_wvalid = 1'b0;
    s_axil_arvalid = 1'b0;
  end

  // Driven at the falling edge; what is sampled at the rising one happens there.
  task put(input [31:0] address, input [31:0] value);
    begin
      s_axil_awaddr = address[11:0];
      s_axil_wdata = value;
      s_axil_awvalid = 1'b1;
      s_axil_wvalid = 1'b1;
      waits = 1'b1;
      while (waits && !over) begin
        @(posedge clk);
        taken = {{s_axil_awready, s_axil_wready}};
        refused = s_axil_bresp !== 2'd0;
        if (s_axil_bvalid) moved = 1'b1;
        waits = !s_axil_bvalid;
        @(negedge clk);
        if (taken[1]) s_axil_awvalid = 1'b0;
        if (taken[0]) s_axil_wvalid = 1'b0;
      end
{REFUSED}
  task get(input [31:0] address, output [31:0] value);
    begin
      s_axil_araddr = address[11:0];
      s_axil_arvalid = 1'b1;
      waits = 1'b1;
      while (waits && !over) begin
        @(posedge clk);
        taken[0] = s_axil_arready;
        refused = s_axil_rresp !== 2'd0;
        value = s_axil_rdata;
        waits = !s_axil_rvalid;
        @(negedge clk);
        if (taken[0]) s_axil_arvalid = 1'b0;
      end
{REFUSED}"""

AXI_IN = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  reg s_axis_{k}_tvalid, s_axis_{k}_tlast;
  reg [{top}:0] s_axis_{k}_tdata;
  wire s_axis_{k}_tready;
  initial forever @(posedge clk) if (s_axis_{k}_tvalid && s_axis_{k}_tready) moved = 1'b1;
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
    s_axis_{k}_tvalid = 1'b0;
    s_axis_{k}_tlast = 1'b0;
    s_axis_{k}_tdata = 0;
  end
  always @(posedge clk) if (rewinding) begin
    s_axis_{k}_tvalid <= 1'b0;
    at_{k} <= 0;
  end else if (!rst && (!s_axis_{k}_tvalid || s_axis_{k}_tready)) begin
    s_axis_{k}_tvalid <= at_{k} < {words} && at_{k} < most;
    if (at_{k} < {words} && at_{k} < most) begin
      s_axis_{k}_tdata <= words_{k}[at_{k}];
      s_axis_{k}_tlast <= at_{k} % {frame} == {frame} - 1;
      at_{k} <= at_{k} + 1;
    end
  end
"""

AXI_OUT = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  integer left_{k};
  wire m_axis_{k}_tvalid, m_axis_{k}_tlast;
  wire m_axis_{k}_tready = taking;
  wire [{top}:0] m_axis_{k}_tdata;
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
  wire ends_{k} = (left_{k} + 1) % {frame} == 0;
  always @(posedge clk) if (rewinding) left_{k} <= 0;
  else if (!rst && m_axis_{k}_tvalid && taking) left_{k} <= left_{k} + 1;
  initial forever @(posedge clk) if (!rst && m_axis_{k}_tvalid && taking) begin
    moved = 1'b1;
    if (!over && {{m_axis_{k}_tdata, m_axis_{k}_tlast}} !== {{expected_{k}[left_{k}], ends_{k}}}) begin
      $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h, tlast %b",
        left_{k} / {frame}, left_{k} % {frame}, expected_{k}[left_{k}], m_axis_{k}_tdata, m_axis_{k}_tlast);
      over = 1'b1;
    end
  end
"""

AXI_TELL_IN = """\
      if (s_axis_{k}_tvalid)
        $write("; s_axis_{k} is refused word %0d of image %0d", (at_{k} - 1) % {frame}, (at_{k} - 1) / {frame});
      else if (at_{k} == {words}) $write("; s_axis_{k} has given all");
      else $write("; s_axis_{k} offers nothing");
"""

AXI_TELL_OUT = """\
      if (m_axis_{k}_tvalid) $write("; m_axis_{k} is offered a word");
      else $write("; m_axis_{k} is offered nothing, and %0d of {words} words have come", left_{k});
"""

_REWIND = """\
      rewinding = 1'b1;
      @(negedge clk);
      rewinding = 1'b0;
"""

_DROPPING = """\
    get(STATUS, told);
    compare({{31'd0, told[7]}}, {dropping}, "STATUS.dropping");
"""

_WITHDRAW = """\
    get(STATUS, told);
    compare({{29'd0, told[2:0]}}, {stopping}, "STATUS.state");
    abort;
"""


class AxiFiles(BusFiles):
    """Files for AXI: frames of an image, and what sources still send of an aborted one is dropped."""

    name, title, stream = "axi", "AXI", "s_axis"
    page, ends = _PAGE, _ENDS
    turn = "      @(negedge clk);\n"
    entered = "at_{k} != 0 && !s_axis_{k}_tvalid"
    waits = "m_axis_{k}_tvalid"
    refused_in, refused_out = AXI_TELL_IN, AXI_TELL_OUT
    withdraw = _WITHDRAW.format(stopping=State.STOPPING.value)

    def parts(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int
    ) -> tuple[list[str], list[str], str]:
        """Return AXI4-Lite's pins and tasks, and a source or sink for each stream; in a turn a cycle goes by."""
        channels = {"aw": "addr prot", "w": "data strb", "b": "resp", "ar": "addr prot", "r": "data resp"}
        pins = [
            f"s_axil_{channel}{name}"
            for channel, signals in channels.items()
            for name in ("valid", "ready", *signals.split())
        ]
        parts = [AXI_LITE]
        for side, frames, text in (("s_axis", inputs, AXI_IN), ("m_axis", outputs, AXI_OUT)):
            for k, frame in enumerate(frames):
                pins += [f"{side}_{k}_t{name}" for name in ("valid", "ready", "data", "last")]
                parts.append(text.format(k=k, top=frame.data_bits - 1, frame=frame.words, words=frame.words * images))
        return pins, parts, self.turn

    def rewind(self, inputs: int, outputs: int) -> str:
        """Return what resets sources and sinks for a cycle."""
        return _REWIND

    def dropping(self, inputs: Sequence[FrameParameters]) -> str:
        """Return the test of STATUS.dropping, which is high where a frame has more than one word."""
        return _DROPPING.format(dropping=int(any(frames.words > 1 for frames in inputs)))
