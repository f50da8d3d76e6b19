package org.distilltophone.decoder;

import android.os.Build;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.UndecodableException;

/** Android's decoder for a program without the Context of an app. */
public final class BitmapDecoder implements ImageFileDecoder {
    @Override
    public String name() {
        return Build.VERSION.SDK_INT >= 28 ? "ImageDecoder" : "BitmapFactory";
    }

    @Override
    public String version() {
        return "Android " + Build.VERSION.RELEASE;
    }

    @Override
    public Decoded decode(byte[] file) throws IOException, UndecodableException {
        return BitmapImage.decode(file, available() / 2);
    }

    /** Returns the available memory in bytes; Long.MAX_VALUE if the system does not report it. */
    private static long available() {
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream("/proc/meminfo"), StandardCharsets.US_ASCII))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.startsWith("MemAvailable:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
                }
            }
        } catch (IOException | NumberFormatException unreported) {
            return Long.MAX_VALUE;
        }
        return Long.MAX_VALUE;
    }
}
