import torch

from rocore.encoder.rows import gather_rows, max_pool_spans, scatter_rows


def test_scatter_rows_hand_value() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    grid = scatter_rows(rows, torch.tensor([2, 0]), 4)
    assert grid.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]


def test_scatter_rows_gradient_is_right() -> None:
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    slots = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: scatter_rows(x, slots, 6), (rows,))


def test_gather_rows_gradient_is_right() -> None:
    grid = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gather_rows(x, torch.tensor([4, 0, 2])), (grid,))


def test_max_pool_spans_hand_value() -> None:
    rows = torch.tensor([[1.0, 9.0], [3.0, 2.0], [-5.0, -7.0]])
    assert max_pool_spans(rows, torch.tensor([1, 1, 0]), 2).tolist() == [[-5, -7], [3, 9]]


def test_max_pool_spans_gradient_is_right() -> None:
    rows = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    spans = torch.tensor([2, 0, 2, 1, 0, 2, 2])
    assert torch.autograd.gradcheck(lambda x: max_pool_spans(x, spans, 3), (rows,))


def test_max_pool_spans_tie_shares_the_gradient() -> None:
    rows = torch.tensor([[4.0], [4.0], [1.0]], requires_grad=True)
    max_pool_spans(rows, torch.tensor([0, 0, 0]), 1).sum().backward()
    assert rows.grad is not None
    assert rows.grad.flatten().tolist() == [0.5, 0.5, 0]
