import galsim
import numpy as np
import pytest
from scipy.stats import chi2, multivariate_normal

from btk_generative.hst.instrument import aperture_psf
from btk_generative.training.likelihood import (
    chi_square,
    convolve,
    fourier,
    image,
    log_likelihood,
    whiten,
)
from btk_generative.training.observation import (
    add_noise,
    flip_x,
    flip_y,
    noise_power,
    psf_transfer,
    resampled,
)

SIZE, SCALE = 32, 0.03


def split(transform):
    return transform.real.astype(np.float32), transform.imag.astype(np.float32)


def cosmos_noise():
    return galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1))


def field_of_noise(noise, size, seed):
    field = galsim.Image(size, size, scale=SCALE, dtype=float)
    field.addNoise(noise.copy(rng=galsim.BaseDeviate(seed)))
    return field


def windows(array, size=SIZE):
    """Returns the windows [n, size, size] that tile a field."""
    n = array.shape[0] // size
    tiles = array[: n * size, : n * size].reshape(n, size, n, size).swapaxes(1, 2)
    return tiles.reshape(-1, size, size)


def ring_means(values, rings=8):
    """Returns means of values [S, S // 2 + 1] over rings of |k|, low to high."""
    ky, kx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)
    ring = np.minimum((np.hypot(ky, kx) * 2 * rings).astype(int), rings - 1)
    return np.array([values[ring == r].mean() for r in range(rings)])


def test_transform_and_its_inverse_are_numpys():
    images = np.random.default_rng(0).standard_normal((3, SIZE, SIZE)).astype(np.float32)
    real, imaginary = fourier(images)
    np.testing.assert_allclose(
        np.asarray(real) + 1j * np.asarray(imaginary), np.fft.rfft2(images), atol=1e-4
    )
    np.testing.assert_allclose(image((real, imaginary)), images, atol=1e-6)


def test_log_likelihood_equals_the_dense_normal_distribution():
    size = 6
    rng = np.random.default_rng(0)
    spectrum = np.abs(np.fft.fft2(rng.standard_normal((size, size)))) ** 2 / size**2 + 0.3
    correlation = np.fft.ifft2(spectrum).real
    y, x = np.indices((size, size)).reshape(2, -1)
    covariance = correlation[(y[:, None] - y) % size, (x[:, None] - x) % size]
    residual = rng.standard_normal((4, size, size))
    expected = multivariate_normal(cov=covariance).logpdf(residual.reshape(4, -1))
    power = np.broadcast_to(spectrum[:, : size // 2 + 1], (4, size, size // 2 + 1))
    found = log_likelihood(fourier(residual), power.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_whitened_cosmos_noise_has_unit_variance_at_all_scales():
    noise = cosmos_noise()
    stamps = np.concatenate([windows(field_of_noise(noise, 512, s).array) for s in range(1, 9)])
    power = noise_power(noise, SIZE, SCALE).astype(np.float32)
    power = np.broadcast_to(power, (len(stamps), *power.shape))
    real, imaginary = whiten(fourier(stamps), power)
    variance = (np.asarray(real) ** 2 + np.asarray(imaginary) ** 2).mean(0)
    np.testing.assert_allclose(ring_means(variance), 1, atol=0.02)


def test_cosmos_noise_passes_a_chi_square_test():
    noise = cosmos_noise()
    stamps = windows(field_of_noise(noise, 512, 11).array)
    power = noise_power(noise, SIZE, SCALE).astype(np.float32)
    power = np.broadcast_to(power, (len(stamps), *power.shape))
    total = float(np.sum(chi_square(fourier(stamps), power)))
    freedom = stamps.size
    assert 0.01 < chi2.cdf(total, freedom) < 0.99


@pytest.mark.parametrize("new_scale", [0.03, 0.045])
def test_noise_of_a_turned_and_resampled_image_is_known(new_scale):
    noise, turn = cosmos_noise(), 0.5 * galsim.radians
    changed = resampled(noise, SCALE, turn, new_scale)
    power = noise_power(changed, SIZE, new_scale)
    drawn, made, size = [], [], int(0.7 * 256 * SCALE / new_scale)
    for seed in range(1, 6):
        field = galsim.InterpolatedImage(field_of_noise(noise, 256, seed)).rotate(turn)
        turned = galsim.Image(size, size, scale=new_scale, dtype=float)
        drawn.append(windows(field.drawImage(turned, method="no_pixel").array))
        made += [
            add_noise(np.zeros((SIZE, SIZE)), changed, new_scale, 100 * seed + k) for k in range(20)
        ]
    for stamps in (np.concatenate(drawn), np.array(made)):
        found = (np.abs(np.fft.rfft2(stamps)) ** 2).mean(0) / SIZE**2
        np.testing.assert_allclose(ring_means(found / power, 4), 1, atol=0.05)


def test_frequencies_finer_than_the_camera_do_not_weigh_infinitely():
    fine = resampled(cosmos_noise(), SCALE, 0 * galsim.radians, 0.01)
    power = noise_power(fine, SIZE, 0.01)
    assert power.min() == pytest.approx(1e-3 * power.max())


def test_convolution_equals_galsims():
    from btk_generative.training.networks import ProfileNetwork

    size = 64
    decoder = ProfileNetwork(size, 8, 16, seed=0, log_flux=(0.0, 1.0))
    vectors = np.random.default_rng(3).standard_normal((4, 8)).astype(np.float32)
    decoder(vectors)
    for variable in decoder.trainable_variables[-2:]:  # details of its own for every profile
        variable.assign(np.random.default_rng(4).normal(0, 0.1, variable.shape))
    profiles, _ = decoder(vectors)
    psf = aperture_psf()
    transfer = np.broadcast_to(psf_transfer(psf, size, SCALE), (4, size, size // 2 + 1))
    found = np.asarray(image(convolve(profiles, split(transfer))))
    for profile, seen in zip(np.asarray(profiles, np.float64), found, strict=True):
        light = galsim.InterpolatedImage(galsim.Image(profile, scale=SCALE), flux=1.0)
        wide = galsim.Image(9 * size, 9 * size, scale=SCALE, dtype=float)
        galsim.Convolve(light, psf).drawImage(wide, method="no_pixel")
        # what leaves the stamp comes in on the other side
        expected = wide.array.reshape(9, size, 9, size).sum((0, 2))
        assert np.abs(seen - expected).max() < 1e-4 * expected.max()


def test_mirrored_image_has_the_mirrored_transform():
    rng = np.random.default_rng(0)
    profile, psf = rng.random((SIZE, SIZE)), rng.random((SIZE, SIZE))
    transfer = np.fft.rfft2(np.fft.ifftshift(psf))

    def seen(light, transfer):
        return np.fft.irfft2(np.fft.rfft2(light) * transfer, s=light.shape)

    image = seen(profile, transfer)
    np.testing.assert_allclose(seen(profile[:, ::-1], flip_x(transfer)), image[:, ::-1])
    np.testing.assert_allclose(seen(profile[::-1], flip_y(transfer)), image[::-1])


def test_profiles_are_positive_normalised_and_dark_at_the_border():
    from btk_generative.training.networks import ProfileNetwork

    decoder = ProfileNetwork(64, 8, 16, seed=0, log_flux=(1.0, 1.0))
    vectors = 3 * np.random.default_rng(3).standard_normal((8, 8)).astype(np.float32)
    profiles, flux = (np.asarray(part) for part in decoder(vectors))
    assert (profiles >= 0).all()
    assert (flux > 0).all()
    np.testing.assert_allclose(profiles.sum((1, 2)), 1, rtol=1e-5)
    assert (profiles[:, [0, -1]] == 0).all()
    assert (profiles[:, :, [0, -1]] == 0).all()
