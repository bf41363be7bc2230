"""Products, linear algebra, Fourier transforms."""
