import pytest
import torch
from torchvision import models

from mmagga.model.backbone import Backbone, NonLocal, map_size


@pytest.mark.parametrize("inner", [1, 6])
def test_non_local_equals_the_full_matrix(inner):
    torch.manual_seed(0)
    block = NonLocal(12, inner).eval()
    torch.nn.init.normal_(block.norm.weight)
    maps = torch.randn(3, 12, 4, 5)
    theta, phi, g = (f(maps).flatten(2) for f in (block.theta, block.phi, block.g))
    affinity = torch.einsum("nci,ncj->nij", theta, phi) / 20
    read = torch.einsum("nij,ncj->nci", affinity, g).reshape(3, inner, 4, 5)
    expected = maps + block.norm(block.back(read))
    torch.testing.assert_close(block(maps), expected)


def test_a_new_non_local_block_is_the_identity():
    maps = torch.randn(2, 8, 4, 2)
    assert torch.equal(NonLocal(8, 4)(maps), maps)


@pytest.mark.parametrize(
    ("name", "channels", "blocks"),
    [
        ("resnet18", 512, {"layer2": [0, 1], "layer3": [0, 1]}),
        ("resnet34", 512, {"layer2": [2, 3], "layer3": [3, 4, 5]}),
        ("resnet50", 2048, {"layer2": [2, 3], "layer3": [3, 4, 5]}),
        ("resnet101", 2048, {"layer2": [2, 3], "layer3": [20, 21, 22]}),
    ],
)
def test_structure(name, channels, blocks):
    with torch.device("meta"):
        backbone = Backbone(name)
        assert backbone(torch.empty(1, 3, 64, 32)).shape == (1, channels, 4, 2)
    assert backbone.channels == channels
    found = [key for key, module in backbone.named_modules() if isinstance(module, NonLocal)]
    assert found == [f"{layer}.non_local{i}" for layer, at in blocks.items() for i in at]


def test_inner_channels_of_the_non_local_blocks():
    def inner(non_local):
        with torch.device("meta"):
            blocks = Backbone("resnet50", non_local=non_local).modules()
        return [block.g.out_channels for block in blocks if isinstance(block, NonLocal)]

    assert inner(0) == []
    assert inner(1) == [1] * 5
    assert inner("half") == [256, 256, 512, 512, 512]


def test_without_non_local_only_the_last_stride_differs_from_torchvision():
    torch.manual_seed(0)
    resnet = models.resnet18().eval()
    torch.manual_seed(0)
    backbone = Backbone("resnet18", non_local=0).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = resnet.layer3(
        resnet.layer2(resnet.layer1(resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))))
    )
    torch.testing.assert_close(torch.nn.Sequential(*backbone.children())[:-1](images), expected)
    assert backbone(images).shape[2:] == expected.shape[2:]


@pytest.mark.parametrize("size", [(256, 128), (128, 64), (224, 224), (250, 121), (1, 17)])
def test_map_size(size):
    with torch.device("meta"):
        maps = Backbone("resnet18")(torch.empty(1, 3, *size))
    assert maps.shape[2:] == map_size(*size)


def test_unknown_options():
    with pytest.raises(ValueError, match="resnet18, resnet34, resnet50, resnet101"):
        Backbone("vgg16")
    with pytest.raises(ValueError, match="0, 1 or 'half'"):
        Backbone("resnet18", non_local=2)
