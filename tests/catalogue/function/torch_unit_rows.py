"""Scale every row of a matrix to length one."""
import torch


class UnitRows(torch.autograd.Function):
    """x: (n, d)"""

    @staticmethod
    def forward(ctx, x):
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        y = x / norm
        ctx.save_for_backward(y, norm)
        return y

    @staticmethod
    def backward(ctx, dy):
        y, norm = ctx.saved_tensors
        radial = (dy * y).sum(dim=1, keepdim=True)
        return (dy - radial * y) / norm
