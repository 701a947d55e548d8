"""What stands below every table of numbers: of which model and which features they are."""

import pytest

from omgsr.models.settings import Features
from omgsr.reporting.compared import caveats
from tests.helpers import models


@pytest.mark.parametrize(
    ("backbone", "name", "scale", "said"),
    [("sd21-base", "convnext_large.dinov3_lvd1689m", "own", []),
     ("mini", "convnext_atto", "own", ["Model mini: these numbers show"]),
     ("mini_flow", "tf_efficientnet_lite0", "own",
      ["Model mini_flow: these numbers show",
       "Features of Dv3CD and discriminator: tf_efficientnet_lite0 in place of a DINOv3-"]),
     ("sd21-base", "convnext_large.dinov3_lvd1689m", "unit",
      ["Features of Dv3CD and discriminator: levels of unit variance for the discriminator."])],
)  # fmt: skip
def test_departures_from_the_paper_stand_below_every_table(
    backbone: str, name: str, scale: str, said: list[str]
) -> None:
    network = Features(name=name, path=None, scale=scale)  # type: ignore[arg-type]
    found = caveats(models.section(backbone=backbone, source="folder", features=network))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))
