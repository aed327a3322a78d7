"""
Minibatch SGD on a dict of modules, with or without momentum.

    momentum = add_momentum(model)
    miniBatchStochasticGradientDescent(model, momentum, _lambda, _alpha, _learning_rate)

Each module with parameters has module.params[key] and module.gradient[key]; the parameters are changed in place.

    without momentum (_alpha <= 0):   w = w - learning_rate * (gradient + lambda * w)
    with momentum:                    v = alpha * v - learning_rate * (gradient + lambda * w);  w = w + v

The L2 penalty lambda is for weights and biases alike.
"""
import numpy as np


class linear_layer:
    def __init__(self, input_D, output_D):
        self.params = {'W': np.random.normal(0, 0.1, (input_D, output_D)),
                       'b': np.random.normal(0, 0.1, (1, output_D))}
        self.gradient = {'W': np.zeros((input_D, output_D)), 'b': np.zeros((1, output_D))}


def make_model(D=6, M=5, O=4):
    np.random.seed(42)
    return {'L1': linear_layer(D, M), 'L2': linear_layer(M, O)}


def add_momentum(model):
    momentum = dict()
    for module_name, module in model.items():
        if hasattr(module, 'params'):
            for key in module.params:
                momentum[module_name + '_' + key] = np.zeros(module.gradient[key].shape)
    return momentum


def miniBatchStochasticGradientDescent(model, momentum, _lambda, _alpha, _learning_rate):
    for module_name, module in model.items():

        # only modules with parameters
        if hasattr(module, 'params'):
            for key in module.params.keys():
                g = module.gradient[key] + _lambda * module.params[key]

                if _alpha > 0.0:
                    name = module_name + '_' + key
                    momentum[name] = _alpha * momentum[name] - _learning_rate * g
                    module.params[key] += momentum[name]
                else:
                    module.params[key] -= _learning_rate * g
    return model
