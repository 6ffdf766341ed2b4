import pytest
import torch

from basicsr_entropy.archs import ConditionalNAFNet
from basicsr_entropy.models.execution import Execution


@pytest.fixture
def net():
    net = ConditionalNAFNet(width=8, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


@pytest.fixture
def inputs():
    return torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16), torch.tensor([5.0, 7.0])


def test_default_changes_nothing(net):
    assert Execution().wrap(net) is net


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_half_precision_is_near_and_comes_back_as_it_was(net, inputs, amp):
    expected = net(*inputs)
    out = Execution(amp=amp).wrap(net)(*inputs)
    assert out.dtype == torch.float32
    assert not torch.equal(out, expected)
    torch.testing.assert_close(out, expected, rtol=0.1, atol=0.05 * expected.abs().max().item())


@pytest.mark.parametrize('options', [{'channels_last': True}, {'compile': True}], ids=str)
def test_state_dict_keeps_its_keys_and_values(net, inputs, options):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    expected, parameters = net(*inputs), list(net.parameters())
    execution = Execution(**options)
    execution.prepare(net)
    with torch.compiler.set_stance('force_eager'):  # compilation takes a minute, and is torch's
        torch.testing.assert_close(execution.wrap(net)(*inputs), expected, rtol=1e-4, atol=1e-5)
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(a is b for a, b in zip(parameters, net.parameters()))


def test_refuses_other_precisions():
    with pytest.raises(ValueError, match="amp: must be one of bf16, fp16, got 'half'"):
        Execution(amp='half')
