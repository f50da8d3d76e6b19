package org.distilltophone.runner;

import java.io.File;
import org.distilltophone.decoder.BitmapDecoder;

/**
 * The runner on a phone, without an app: {@code app_process} starts it from an adb shell.
 *
 * <p>{@code CLASSPATH=DIR/runner.jar app_process / org.distilltophone.runner.Main COMMAND FOLDER}, with {@code
 * libtensorflowlite_jni.so} of the phone's processor in DIR, and {@code libtensorflowlite_gpu_jni.so} where the GPU is to
 * compute ({@code -Djava.library.path=DIR} then).
 */
public final class Main {
    private static final String LIBRARY = "libtensorflowlite_jni.so";

    private Main() {}

    public static void main(String[] arguments) {
        String jar = System.getProperty("java.class.path", "").split(File.pathSeparator)[0];
        File library = new File(new File(jar).getAbsoluteFile().getParentFile(), LIBRARY);
        if (library.isFile()) {
            System.load(library.getPath()); // else TensorFlow Lite looks in java.library.path
        }
        System.exit(new Runner(new TfliteOpener(), new BitmapDecoder()).run(arguments, System.in, System.out));
    }
}
