package org.distilltophone.runner;

import java.io.File;
import org.distilltophone.decoder.BitmapDecoder;

/**
 * Main class of the runner on a phone, without an app: {@code app_process} starts it from an adb shell.
 *
 * <p>{@code CLASSPATH=DIR/runner.jar app_process / org.distilltophone.runner.Main COMMAND FOLDER}, with {@code
 * libtensorflowlite_jni.so} for the phone's processor in DIR. The GPU delegate also needs {@code
 * libtensorflowlite_gpu_jni.so} there, and {@code -Djava.library.path=DIR}.
 */
public final class Main {
    private static final String LIBRARY = "libtensorflowlite_jni.so";

    private Main() {}

    public static void main(String[] arguments) {
        String jar = System.getProperty("java.class.path", "").split(File.pathSeparator)[0];
        File library = new File(new File(jar).getAbsoluteFile().getParentFile(), LIBRARY);
        if (library.isFile()) {
            System.load(library.getPath()); // otherwise TensorFlow Lite searches java.library.path
        }
        System.exit(new Runner(new TfliteOpener(), new BitmapDecoder()).run(arguments, System.in, System.out));
    }
}
