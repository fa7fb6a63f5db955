"""Plain names for Verilog: legal without escapes in Verilog and SystemVerilog, no two equal but for their case."""

import re
from collections.abc import Iterable

KEYWORDS = frozenset(
    """accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
    constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
    else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
    endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event eventually expect
    export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global
    highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input
    inside instance int integer interconnect interface intersect join join_any join_none large let liblist library
    local localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
    noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
    property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
    rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled
    signed small soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1
    sync_accept_on sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1
    tri tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var
    vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor""".split()  # noqa: SIM905
)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``a_2`` before ``a_10``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


class Names:
    """Plain names, no two equal but for their case."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = {name.lower() for name in taken} | KEYWORDS

    def take(self, name: str) -> str:
        """Return ``name``, or with a number where it is taken."""
        # `a$5` is Yosys' or Amaranth's way to tell several `a` apart; what they number is no part of this module.
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", re.sub(r"(?<=.)(\$\d+)+", "", name)).strip("_") or "signal"
        plain = f"n_{plain}" if plain[0].isdigit() else plain
        found, number = plain, 0
        while found.lower() in self.taken:
            number += 1
            found = f"{plain}_{number}"
        self.taken.add(found.lower())
        return found


def is_plain(name: str) -> bool:
    """Return whether a name may stand as it is: legal in Verilog and SystemVerilog without escapes."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None and name not in KEYWORDS


def plain_names(raw: Iterable[str], names: Names) -> dict[str, str]:
    """Return plain names by raw name; those that are plain already keep theirs."""
    found, rest = {}, []
    for name in raw:
        if is_plain(name) and name.lower() not in names.taken:
            found[name] = name
            names.taken.add(name.lower())
        else:
            rest.append(name)
    return found | {name: names.take(name) for name in rest}
