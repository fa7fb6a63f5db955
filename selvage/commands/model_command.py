"""The commands that take a model of any kind: a layer, a network, or shapes.

What computes and what simulates is loaded when options and files are right: a refusal is not kept waiting for it.
"""

from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.files import LISTING, alone_in, check_folder, check_writable
from selvage.base.noise import load_noise
from selvage.commands.cli_options import Asked, AskedOfShapes, AskedOfWaves
from selvage.commands.results import check_is_file, check_outputs_apart, emit, weights_file
from selvage.commands.streams import show
from selvage.frontend.kinds import PREFIX, is_network
from selvage.rtlsim.installed import check_simulator


def sim(
    model_file: str,
    asked: Asked,
    *,
    output_file: Path | None,
    fold: int,
    simulator: str,
    shown: AskedOfWaves,
    json_file: Path | None,
    pipeline: bool,
    build: Path,
    noise: Path | None = None,
) -> bool:
    """Do `selvage sim`, and return whether RTL matches the golden model."""
    drawn = load_noise(noise) if noise else None
    dumped = {"waves": shown.waves, "waves_from": shown.waves_from, "waves_steps": shown.waves_steps}
    options = asked.options(fold=fold, simulator=simulator, build=build, noise=drawn, **dumped)
    waves = shown.waves
    if (shown.tile is not None or shown.layer is not None) and waves is None:
        raise InputError("--tile and --layer say which waves are written: --waves DIR is not given")
    if drawn and pipeline:
        raise InputError("--noise is for layers one by one: --pipeline has ideal macros in plain Verilog")
    check_simulator(simulator)
    check_is_file(model_file)
    for path in (output_file, json_file if str(json_file) != "-" else None):
        check_writable(path)
    read = {"MODEL": model_file, "--input": asked.input_file, "--chip": asked.chip, "--noise": noise}
    read |= {"its weights": weights_file(model_file)}
    check_outputs_apart({"--output": output_file, "--json": json_file}, read)
    if shown.tile is not None and output_file is not None:
        raise InputError(f"--output {output_file} is of a whole run, and --tile {shown.tile} runs one tile")
    if waves:
        for option, path in (("--output", output_file), ("--json", json_file)):
            if path is not None and path.resolve().parent == waves.resolve():
                raise InputError(f"{option} {path} is in the folder of --waves, among files that it writes")
        check_folder(waves, f"--waves {waves}")
    check_folder(build, f"--build {build}")
    if shown.layer is not None and shown.tile is None:
        raise InputError(f"--layer {shown.layer} names the layer of --tile, which is not given")
    if pipeline and (shown.tile is not None or shown.waves_from or shown.waves_steps is not None):
        raise InputError("--tile, --waves-from and --waves-steps are of a tile by itself: --pipeline dumps all streams")
    if shown.tile is not None:
        from selvage.commands.window_command import simulate_window

        window = asked.chip, asked.input_file, options, shown
        content, match = simulate_window(model_file, *window)
        emit(content, json_file)
        return match
    if is_network(model_file):
        from selvage.commands.network_command import simulate_network

        options.check_network()
        network = asked.chip, asked.input_file, output_file, options
        content, match = simulate_network(model_file, *network, pipeline=pipeline)
        emit(content, json_file)
        return match
    from selvage.commands.layer_command import check_no_network, simulate_layer

    check_no_network(options, pipeline=pipeline)
    content, error = simulate_layer(model_file, asked.chip, asked.input_file, output_file, options)
    emit(content, json_file)
    if error:
        raise error
    return content["match"]


def model(
    model_file: str,
    asked: Asked,
    asked_of_shapes: AskedOfShapes,
    *,
    fold: int,
    json_file: Path | None,
    pipeline: bool = False,
) -> None:
    """Do `selvage model`."""
    options = asked.options(fold=fold)
    check_writable(json_file if str(json_file) != "-" else None)
    read = {"MODEL": model_file, "--input": asked.input_file, "--chip": asked.chip}
    check_outputs_apart({"--json": json_file}, read)
    if model_file.startswith(PREFIX):
        if asked.input_file or asked.shape is not None:
            option = "--input" if asked.input_file else "--shape"
            raise InputError(f"{option} is for a model that has weights, and shapes:NAME has none")
        from selvage.commands.shapes_command import ShapesOptions, count_shapes

        shapes = ShapesOptions(**vars(asked_of_shapes))
        emit(count_shapes(model_file, asked.chip, options, shapes, pipeline=pipeline), json_file)
        return
    if asked_of_shapes != AskedOfShapes():
        raise InputError("--weights, --zeros, --patterns and their like are for shapes:NAME: this model has weights")
    if is_network(model_file):
        from selvage.commands.network_command import model_network

        options.check_network()
        emit(model_network(model_file, asked.chip, asked.input_file, options, pipeline=pipeline), json_file)
        return
    from selvage.commands.layer_command import check_no_network, model_layer

    check_no_network(options, pipeline=pipeline)
    emit(model_layer(model_file, asked.chip, asked.input_file, options), json_file)


def verilog(model_file: str, asked: Asked, *, out: Path, fold: int, bus: str | None) -> None:
    """Do `selvage verilog`."""
    options = asked.options(fold=fold)
    check_is_file(model_file)
    if bus is not None:
        from selvage.bundle.shell_bundle import check_bus

        check_bus(bus)
    check_writable(out / LISTING)
    with alone_in(out):
        if is_network(model_file):
            from selvage.commands.network_command import verilog_network

            options.check_network()
            paths = verilog_network(model_file, asked.chip, asked.input_file, out, bus, options)
        else:
            from selvage.commands.layer_command import check_no_network, verilog_layer

            check_no_network(options)
            paths = verilog_layer(model_file, asked.chip, asked.input_file, out, bus, options)
    show(f"{len(paths)} files in {out}")


def compile_network_files(model_file: str, asked: Asked, *, out: Path) -> None:
    """Do `selvage compile`."""
    options = asked.options()
    check_is_file(model_file)
    check_writable(out / LISTING)
    from selvage.commands.network_command import compile_to

    with alone_in(out):
        paths = compile_to(model_file, asked.chip, asked.input_file, out, options)
    show(f"{len(paths)} files in {out}")
