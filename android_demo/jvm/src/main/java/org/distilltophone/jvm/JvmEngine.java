package org.distilltophone.jvm;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.tensorflowlite.BuiltinOpResolver;
import org.bytedeco.tensorflowlite.BuiltinOpResolverWithoutDefaultDelegates;
import org.bytedeco.tensorflowlite.FlatBufferModel;
import org.bytedeco.tensorflowlite.Interpreter;
import org.bytedeco.tensorflowlite.InterpreterBuilder;
import org.bytedeco.tensorflowlite.TfLiteQuantizationParams;
import org.bytedeco.tensorflowlite.TfLiteTensor;
import org.bytedeco.tensorflowlite.global.tensorflowlite;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.DelegateException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;

/** TensorFlow Lite for Linux, with XNNPACK as on the phone or with the plain kernels. */
public final class JvmEngine implements Engine {
    private static final String CURE = "export it again";
    private static final int OK = 0;

    private final BytePointer content; // the model refers to it during its lifetime
    private final FlatBufferModel model;
    private final BuiltinOpResolver resolver = new BuiltinOpResolverWithoutDefaultDelegates();
    private final Xnnpack xnnpack; // null: the plain kernels
    private final Interpreter interpreter = new Interpreter((Pointer) null);
    private final TfLiteTensor input;
    private final TfLiteTensor output;

    /**
     * Loads a model with XNNPACK.
     *
     * @param file content of the file; copied
     * @param inputSpec description of the input tensor in the bundle; checked, like {@code outputSpec}
     * @throws BadFileException the engine refuses the model, or the model does not match the bundle
     */
    public JvmEngine(ByteBuffer file, TensorSpec inputSpec, TensorSpec outputSpec, int threads) throws IOException {
        this(file, inputSpec, outputSpec, threads, "xnnpack");
    }

    /**
     * Loads a model with a choice of delegate.
     *
     * @param delegate "xnnpack" or "none"
     * @throws DelegateException another delegate: Linux has no others
     */
    public JvmEngine(ByteBuffer file, TensorSpec inputSpec, TensorSpec outputSpec, int threads, String delegate) throws IOException {
        if (!delegate.equals("xnnpack") && !delegate.equals("none")) {
            throw new DelegateException("TensorFlow Lite for Linux has no delegate '" + delegate + "': it has xnnpack and none", null);
        }
        byte[] bytes = new byte[file.remaining()];
        file.duplicate().get(bytes);
        content = new BytePointer(bytes);
        model = FlatBufferModel.VerifyAndBuildFromBuffer(content, bytes.length);
        if (model == null || model.isNull()) {
            content.close();
            throw new BadFileException("not a TFLite model", CURE);
        }
        xnnpack = delegate.equals("xnnpack") ? new Xnnpack(threads) : null;
        try (InterpreterBuilder builder = new InterpreterBuilder(model, resolver)) {
            if (xnnpack != null) {
                builder.AddDelegate(xnnpack.delegate());
            }
            builder.apply(interpreter, threads);
        }
        if (interpreter.isNull() || interpreter.AllocateTensors() != OK || interpreter.inputs().limit() > 1) {
            close();
            throw new BadFileException("the engine refuses the model", CURE);
        }
        input = interpreter.input_tensor(0);
        output = interpreter.output_tensor(0);
        String wrong = difference(input, inputSpec);
        if (wrong == null) {
            wrong = difference(output, outputSpec);
        }
        if (wrong != null) {
            close();
            throw new BadFileException("the model's " + wrong + " does not match bundle.json", CURE);
        }
    }

    private static String difference(TfLiteTensor tensor, TensorSpec spec) {
        int[] shape = spec.shape();
        boolean same = tensorflowlite.TfLiteTensorNumDims(tensor) == shape.length;
        for (int axis = 0; same && axis < shape.length; axis++) {
            same = tensorflowlite.TfLiteTensorDim(tensor, axis) == shape[axis];
        }
        if (!same) {
            return "shape of " + spec.name;
        }
        int type = spec.isFloat() ? tensorflowlite.kTfLiteFloat32
            : spec.dtype.equals("int8") ? tensorflowlite.kTfLiteInt8 : tensorflowlite.kTfLiteUInt8;
        if (tensorflowlite.TfLiteTensorType(tensor) != type) {
            return "type of " + spec.name;
        }
        TfLiteQuantizationParams params = tensorflowlite.TfLiteTensorQuantizationParams(tensor);
        boolean near = Math.abs(params.scale() - spec.scale) <= 1e-6 * spec.scale;
        return near && params.zero_point() == spec.zeroPoint ? null : "scale of " + spec.name;
    }

    @Override
    public void run(ByteBuffer in, ByteBuffer out) {
        long inBytes = tensorflowlite.TfLiteTensorByteSize(input);
        long outBytes = tensorflowlite.TfLiteTensorByteSize(output);
        if (!in.isDirect() || !out.isDirect() || in.capacity() < inBytes || out.capacity() < outBytes) {
            throw new IllegalArgumentException("buffers must be direct and as large as the tensors");
        }
        if (tensorflowlite.TfLiteTensorCopyFromBuffer(input, new Pointer(in).position(0), inBytes) != OK
            || interpreter.Invoke() != OK
            || tensorflowlite.TfLiteTensorCopyToBuffer(output, new Pointer(out).position(0), outBytes) != OK) {
            throw new IllegalStateException("the model does not run");
        }
    }

    @Override
    public void close() {
        interpreter.close();
        if (xnnpack != null) {
            xnnpack.close();
        }
        resolver.close();
        model.close();
        content.close();
    }
}
