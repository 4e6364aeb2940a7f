"""Train networks toward wide flat minima, measure flatness and generalization, record everything."""
