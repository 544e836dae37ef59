"""The operations a step of training is made of: their meaning in plain torch, and native code that is faster."""
