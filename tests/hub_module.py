"""Writes TensorFlow-1 hub modules as tensorflow_hub 0.7 exports them: galsim_hub's format."""

import tarfile
from pathlib import Path

import numpy as np


def write_hub_module(path, folder, build, variables=True, tags=(), attach=True, change=None):
    """Writes a module, and returns a function that runs its graph in a TensorFlow-1 session.

    Args:
        path: The archive to write.
        folder: An empty folder to work in.
        build: Makes the graph and returns placeholders by name, the output and the stamp size.
        variables: Whether the graph has variables.
        tags: Tags of the graph.
        attach: Whether to attach stamp and pixel size.
        change: Changes the GraphDef before it is written.
    """
    import tensorflow as tf
    from google.protobuf.any_pb2 import Any  # same wire format as a ModuleAttachment
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default(), v1.variable_scope("", use_resource=True):
        v1.set_random_seed(1)
        inputs, output, stamp_size = build(v1)
        meta = v1.train.export_meta_graph(strip_default_attrs=True)
        meta.meta_info_def.tags.extend(tags)
        info = v1.saved_model.utils.build_tensor_info
        meta.signature_def["default"].CopyFrom(
            v1.saved_model.signature_def_utils.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()}, {"default": info(output)}
            )
        )
        if attach:
            messages = {
                "stamp_size": tf.train.Int64List(value=[stamp_size]),
                "pixel_size": tf.train.FloatList(value=[0.03]),
            }
            meta.collection_def["hub_module_attachments"].bytes_list.value[:] = [
                Any(type_url=key, value=message.SerializeToString()).SerializeToString()
                for key, message in messages.items()
            ]
        session = v1.Session(graph=graph)
        if variables:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(
                session, str(Path(folder) / "variables" / "variables"), write_meta_graph=False
            )
            (Path(folder) / "variables" / "checkpoint").unlink()
    if change:
        change(meta.graph_def)
    saved = SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    (Path(folder) / "saved_model.pb").write_bytes(saved.SerializeToString())
    (Path(folder) / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format 3
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=".")

    def run(**values):
        feed = {inputs[name]: value for name, value in values.items()}
        return session.run(output, feed)

    return run


def published(v1):
    """A decoder with the inputs and shapes of the published modules."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    inputs = {
        name: v1.placeholder(tf.float32, [None], name)
        for name in ("mag_auto", "flux_radius", "zphot")
    }
    inputs["random_normal"] = v1.placeholder(tf.float32, [None, 1, 1, 16], "random_normal")
    conditions = tf.stack([inputs[n] for n in ("mag_auto", "flux_radius", "zphot")], -1)
    code = tf.concat([conditions[:, None, None, :] / 25, inputs["random_normal"]], -1)

    def weights(name, *shape):
        start = rng.normal(0, 0.3, shape).astype(np.float32)
        return v1.get_variable(name, initializer=start)

    x = tf.nn.relu(tf.reshape(code, [-1, 19]) @ weights("dense", 19, 16 * 16 * 2))
    x = tf.reshape(x, [-1, 16, 16, 2])
    for size in (32, 64, 128):
        kernel = weights(f"deconvolution_{size}", 3, 3, 2, 2)
        shape = tf.stack([tf.shape(x)[0], size, size, 2])
        x = tf.nn.relu(tf.nn.conv2d_transpose(x, kernel, shape, 2))
        x.set_shape([None, size, size, 2])
    image = tf.nn.softplus(tf.nn.conv2d(x, weights("last", 3, 3, 2, 1), 1, "SAME"))
    return inputs, image, 128


def internally_random(v1, size=16):
    """A module that makes its own random numbers, normal and uniform, old-style variables."""
    import tensorflow as tf

    flux = v1.placeholder(tf.float32, [None], "flux")
    with v1.variable_scope("", use_resource=False):
        scale = v1.get_variable("scale", initializer=np.float32(2.0), use_resource=False)
    n = tf.shape(flux)[0]
    normal = v1.random_normal(tf.stack([n, size, size]), mean=0.0, stddev=1.0)
    uniform = v1.random_uniform(tf.stack([size, n]), minval=1.0, maxval=3.0)
    image = tf.exp(scale * normal) * tf.transpose(uniform)[:, :, None] * flux[:, None, None]
    return {"flux": flux}, image, size
