"""Parameters of a training chip: of each stage, buffer and update unit, from its plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from selvage.hw.training.cells import CellPlan
from selvage.hw.training.controller import ControllerParameters
from selvage.hw.training.stages import BackParameters, cell_plan, product_parameters
from selvage.hw.training.update import UpdateParameters
from selvage.mapping.training import Buffer
from selvage.mapping.training_cells import CellRow
from selvage.mapping.training_chip import Product, TrainingPlan


@dataclass(frozen=True, eq=False)
class ChipParameters:
    """A training chip; with ``skip`` OUs without an active row are left out. ``stochastic``: rounding of updates."""

    plan: TrainingPlan
    skip: bool = True
    stochastic: bool = False

    @property
    def controller(self) -> ControllerParameters:
        """Parameters of the controller."""
        return ControllerParameters(self.plan.schedule)

    def words(self, buffer: Buffer) -> int:
        """Return the codes of a sample in a buffer."""
        layers = self.plan.networks[buffer.network].layers
        if not buffer.layer:
            layer = layers[0].layer
            return layer.channels * layer.height * layer.width
        layer = layers[buffer.layer - 1].layer
        return layer.outputs * layer.output_size[0] * layer.output_size[1]

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """The buffers of activations, by name."""
        return {own.name: own for own in self.plan.schedule.buffers}

    @cached_property
    def forward(self) -> dict[str, tuple[Product, str, str]]:
        """Of each stage forward its product, the buffer it reads, and the one it writes."""
        found = {}
        for name, own in self.plan.forward.items():
            place, k = name.split("_f")
            after = f"{place}_{k}"
            if after not in self.buffers:  # what leaves the generator enters the discriminator
                after = "D_0"
            found[name] = own, f"{place}_{int(k) - 1}", after
        return found

    @cached_property
    def back(self) -> dict[str, tuple[BackParameters, str]]:
        """Of each stage backward its parameters, and the buffer of what entered its layer."""
        found = {}
        for name, own in self.plan.back.items():
            place, k = name.split("_b")
            buffer = self.buffers[f"{place}_{int(k) - 1}"]
            formats = self.plan.network(place).formats
            unit = self.plan.error_unit.unit_places if self.plan.unit_error and place[0] == "D" else 0
            sizes = buffer.depth, formats.activations, formats.errors
            p = BackParameters(own, *sizes, self.skip, unit, first_layer=place[0] == "D" and k == "1")
            found[name] = p, buffer.name
        return found

    def copies(self, network: str) -> list[str]:
        """Return the places of a network."""
        return [place for place in self.plan.places if place[0] == network]

    def written(self, network: str, layer: int) -> Iterator[tuple[str, Product]]:
        """Yield the products that hold a layer's weights, each with its name: forward first, then backward."""
        for place in self.copies(network):
            yield f"{place}_f{layer}", self.plan.forward[f"{place}_f{layer}"]
        for place in self.copies(network):
            for branch, own in enumerate(self.plan.back[f"{place}_b{layer}"].data):
                if own:
                    yield f"{place}_b{layer}.{branch}", own

    def update(self, network: str) -> UpdateParameters:
        """Return the parameters of a network's update unit; its crossbars are those of `written`, layer by layer."""
        own = self.plan.networks[network]
        words = [prod(layer.layer.weight_shape) for layer in own.layers]
        first, macros = 0, sum(len(self.crossbars(product)) for product in self.holders(network))
        read, written = [], []
        for layer in range(1, len(own.layers) + 1):
            parts: list[CellRow] = []
            for index, (_, product) in enumerate(self.written(network, layer)):
                rows = [CellRow(row.array + first, row.row, row.slots) for row in product.cells]
                parts += rows
                if not index:
                    read.append(tuple(rows))
                first += len(self.crossbars(product))
            written.append(tuple(parts))
        plans = [
            CellPlan(tuple(rows), max(words), own.formats.weights, like.stored, macros, like.height, like.width)
            for like in [self.cells(next(iter(self.holders(network))))]
            for rows in (read, written)
        ]
        back = self.back[f"{network}_b1"][0].sums
        further = self.back[f"{network}_b1"][0].unit_places
        shifts = tuple(layer.update_shift + further for layer in own.layers)
        return UpdateParameters(
            plans[0], plans[1], tuple(words), shifts, len(self.copies(network)), back.sum_bits, self.stochastic
        )

    def holders(self, network: str) -> Iterator[Product]:
        """Yield all products that hold weights of a network, layer by layer."""
        for layer in range(1, len(self.plan.networks[network].layers) + 1):
            for _, product in self.written(network, layer):
                yield product

    def crossbars(self, product: Product) -> list[str]:
        """Return the crossbars of a product."""
        return product_parameters(product, skip=self.skip).crossbars

    def crossbar_places(self, name: str, product: Product) -> list[str]:
        """Return where the crossbars of a product of `written` stand in the chip."""
        stage, _, branch = name.partition(".")
        inside = f"{stage}.transposed_{branch}" if branch else stage
        return [f"{inside}.network.{place}" for place in self.crossbars(product)]

    def cells(self, product: Product) -> CellPlan:
        """Return the plan of a product's cells."""
        return cell_plan(product_parameters(product, skip=self.skip), product, 1, 1)
