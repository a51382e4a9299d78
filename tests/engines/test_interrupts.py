"""A first signal asks, a second one acts."""

import signal

import pytest

from pretrain.engines.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_a_request_and_is_reported_once(number):
    reported, before = [], signal.getsignal(number)
    with Interrupts(reported.append) as interrupts:
        assert not interrupts.requested()
        signal.raise_signal(number)
        assert interrupts.requested()
        assert len(reported) == 1 and number.name in reported[0]
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_the_second_ctrl_c_stops_at_once(request):
    # Ignored in what a shell starts in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt), Interrupts(lambda line: None):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
